# Where the real Kubernetes API server is kept. Sourced after common.sh.
# shellcheck shell=bash

kubernetes_version=1.20.2
kubernetes_home=${GATEWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gateway}/kubernetes-$kubernetes_version

# kubernetes_is_built: whether the programs are there, by the last that the build puts there.
kubernetes_is_built() { [[ -x $kubernetes_home/bin/kube-apiserver ]]; }
