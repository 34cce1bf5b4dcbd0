#!/usr/bin/env bash
# Builds a real Kubernetes API server and kubelet, once, for the tests that want them.
#
#   scripts/lib/kubernetes-build.sh [--check]
#
# Leaves them in ${GATEWAY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/gateway}/kubernetes-1.20.2/bin, beside
# Debian's etcd, containerd, runc and busybox. --check builds nothing and fails if they are missing.
# Needs Debian 12's apt and dpkg-dev, and no root: nothing is installed on the system. The first time
# takes about 8 minutes of one core and 3 GB of disk, of which 0.4 GB stay; GOMAXPROCS=1 and
# GOFLAGS=-p=1 bound what it takes of a busy machine.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$root/scripts/lib/kubernetes-home.sh"

# Debian's source package `kubernetes` is all of upstream's tree with its vendored modules, so no module
# is downloaded; its binary packages hold kubectl only. Later releases of Debian cut the tree down.
packages=(golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server containerd runc busybox-static)
# Of these packages, what is kept.
kept=(usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr} usr/sbin/runc bin/busybox)
project=k8s.io/kubernetes
work=$kubernetes_home/work

# use_apt: lets apt-get work on lists and packages below $work, which needs no privileges.
use_apt() {
  local mirror kind keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  # shellcheck disable=SC2016 # apt-get expands it
  mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' 'Component: main' | head -n 1)
  [[ -n $mirror ]] || fail 'apt knows no mirror of Debian 12: this needs one in its sources, and an apt-get update'
  mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/packages"
  for kind in deb deb-src; do
    printf '%s [signed-by=%s] %s bookworm main\n' "$kind" "$keyring" "$mirror"
  done >"$work/apt/sources.list"
  cat >"$work/apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/apt/lists";
Dir::Cache::archives "$work/apt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "$(id -un)";
CONF
  export APT_CONFIG=$work/apt/apt.conf
}

# fetch: the packages unpacked below $work/root, the sources in $work/gopath.
fetch() {
  local package tree=$work/gopath/src/$project
  use_apt
  run apt-get update -qq
  # Of a run that was cut short.
  rm -rf "$work/packages" "$work/root" "$tree"
  mkdir -p "$work/packages" "$work/root" "${tree%/*}"
  cd "$work/packages"
  run apt-get download -qq "${packages[@]}"
  run apt-get source -qq --download-only kubernetes
  for package in *.deb; do run dpkg-deb --extract "$package" "$work/root"; done
  # apt has checked the signature of the list that names these files' checksums.
  run dpkg-source -q --no-check --extract kubernetes_*.dsc "$tree"
  # The vendored 1.0.1 writes through a wild pointer when it walks a map under Go 1.18 and later.
  rm -r "$tree/vendor/github.com/modern-go/reflect2"
  cp -r "$work/root/usr/share/gocode/src/github.com/modern-go/reflect2" "$tree/vendor/github.com/modern-go/"
  touch "$work/fetched"
}

# generate: pkg/generated/openapi, the one generated package that the sources lack.
generate() {
  local inputs
  run go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  inputs=$(grep -rl --include='*.go' '+k8s:openapi-gen=' cmd pkg staging/src/k8s.io | sed 's|^staging/src/|vendor/|' |
    grep -v -e ^vendor/k8s.io/code-generator/ -e ^vendor/k8s.io/sample- | xargs -n 1 dirname | LC_ALL=C sort -u |
    sed "s|^|$project/|" | paste -s -d ,)
  say '$ openapi-gen ...'
  "$work/openapi-gen" --logtostderr --input-dirs "$inputs" --output-base "$GOPATH/src" \
    --output-package "$project/pkg/generated/openapi" --output-file-base zz_generated.openapi \
    --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt --report-filename "$work/violations"
  # Upstream's own check that the generator saw all of the API.
  cmp "$work/violations" api/api-rules/violation_exceptions.list || fail 'the generated API differs from what upstream released'
}

build() {
  local package flags=(-s -w)
  export GOROOT=$work/root/usr/lib/go-1.19 GOPATH=$work/gopath GOCACHE=$work/gocache
  # Modules are off because Go 1.19 refuses the tree's vendor folder as one of modules.
  export GO111MODULE=off CGO_ENABLED=0
  PATH=$GOROOT/bin:$PATH
  cd "$GOPATH/src/$project"
  generate
  for package in component-base client-go/pkg; do
    package=$project/vendor/k8s.io/$package/version
    flags+=(-X "$package.gitVersion=v$kubernetes_version" -X "$package.gitMajor=1" -X "$package.gitMinor=20")
  done
  for package in kube-apiserver kubelet; do
    run go build -trimpath -ldflags "${flags[*]}" -o "$work/bin/$package" "./cmd/$package"
  done
  (cd "$work/root" && install "${kept[@]}" "$work/bin")
}

case ${1:-} in
  '') ;;
  --check)
    kubernetes_is_built || fail "no API server in $kubernetes_home/bin"
    exit
    ;;
  -h | --help) usage && exit ;;
  *) usage >&2 && exit 2 ;;
esac

mkdir -p "$work"
exec 9>"$kubernetes_home/lock"
flock -n 9 || { say 'Waiting for another build.' && flock 9; }
if ! kubernetes_is_built; then
  for tool in apt-get dpkg-deb dpkg-source; do have "$tool" || fail "$tool is missing: install apt and dpkg-dev"; done
  renice -n 19 $$ >/dev/null
  step 'Sources of Kubernetes, and the Go that builds them'
  if [[ -e $work/fetched ]]; then say "Are there already, in $work."; else fetch; fi
  step "kube-apiserver and kubelet $kubernetes_version"
  mkdir -p "$work/bin"
  build
  cd "$kubernetes_home"
  rm -rf bin && mv "$work/bin" bin
  kubernetes_is_built || fail 'what was built does not run'
fi
# Also what an earlier run left when it ended between the two.
chmod -R u+w "$work" && rm -rf "$work"
say '' "$("$kubernetes_home/bin/kube-apiserver" --version) is in $kubernetes_home/bin."
