#!/usr/bin/env bash
# The node of kubernetes-run.sh: containerd and a kubelet, in namespaces of their own.
#
#   unshare --mount --pid --fork --kill-child --mount-proc scripts/lib/kubernetes-node.sh DIR PORT
#
# DIR is the folder of kubernetes-run.sh, PORT where the kubelet listens. As process 1 it takes every
# container with it when it is killed. Needs root. Pods share the machine's network (hostNetwork: true),
# have no network of their own, and find one image here: localhost/busybox:1.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$root/scripts/lib/kubernetes-home.sh"

dir=$1/node port=$2 users=$1/users tls=$1/tls
socket=$dir/containerd.sock
PATH=$kubernetes_home/bin:$PATH
cd "$dir"

# hide PATH: an empty folder of ours in the place of the machine's.
hide() {
  mkdir -p "hidden$1"
  mount --bind "hidden$1" "$1"
}

# The kubelet writes these, or ends if it can't. What it writes is not for this machine.
set_kernel() {
  local name value
  mkdir -p kernel
  while read -r name value; do
    printf '%s\n' "$value" >"kernel/${name//\//.}"
    mount --bind "kernel/${name//\//.}" "/proc/sys/$name"
  done <<'VALUES'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
VALUES
}

# An image of busybox, in the form that `docker save` has; it serves as the pause image too.
make_image() {
  local tool sum
  mkdir -p image/bin image/tmp
  cp "$kubernetes_home/bin/busybox" image/bin/busybox
  for tool in sh cat echo sleep id ls tar nc env stty head yes; do ln -s busybox "image/bin/$tool"; done
  tar --owner=0 --group=0 -C image -cf layer.tar .
  sum=$(sha256sum layer.tar | cut -d' ' -f1)
  printf '{"os":"linux","architecture":"%s","config":{"Env":["PATH=/bin"],"Cmd":["sleep","1000000"]},%s}' \
    "$(dpkg --print-architecture)" '"rootfs":{"type":"layers","diff_ids":["sha256:'"$sum"'"]}' >config.json
  printf '[{"Config":"config.json","RepoTags":["localhost/busybox:1"],"Layers":["layer.tar"]}]' >manifest.json
  tar -cf image.tar manifest.json config.json layer.tar
}

start_containerd() {
  cat >containerd.toml <<TOML
version = 2
root = "$dir/containerd"
state = "$dir/tasks"
[grpc]
address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/busybox:1"
disable_tcp_service = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$dir/cni"
conf_dir = "$dir/cni"
TOML
  containerd --config containerd.toml >containerd.log 2>&1 &
  wait_for 20 containerd ctr --address "$socket" version || fail 'containerd does not start'
  ctr --address "$socket" --namespace k8s.io images import image.tar
}

start_kubelet() {
  cat >kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: $port
readOnlyPort: 0
healthzPort: 0
tlsCertFile: $tls/server.crt
tlsPrivateKeyFile: $tls/server.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $users/ca.crt}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
makeIPTablesUtilChains: false
evictionHard: {memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
imageGCHighThresholdPercent: 100
YAML
  # It would ask a cloud's metadata service for credentials of an image registry.
  AWS_EC2_METADATA_DISABLED=true kubelet --config kubelet.yaml --kubeconfig "$users/node.kubeconfig" \
    --hostname-override localhost --root-dir "$dir/kubelet" --cert-dir "$dir/pki" \
    --container-runtime remote --container-runtime-endpoint "unix://$socket" >kubelet.log 2>&1 &
}

# Where the kubelet, containerd and runc keep things that no option moves.
for path in /var/lib /var/log /run; do hide "$path"; done
set_kernel
make_image
start_containerd
start_kubelet
wait -n || true
tail -n 20 containerd.log kubelet.log >&2
fail 'containerd or the kubelet has ended'
