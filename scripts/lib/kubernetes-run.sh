#!/usr/bin/env bash
# Runs a real Kubernetes API server and its etcd on loopback, until it is stopped.
#
#   scripts/lib/kubernetes-run.sh [--node] [DIR]
#
# Build it first: scripts/lib/kubernetes-build.sh. State is kept in DIR, which must be new or of an
# earlier run (certificates are kept, data is not); without DIR in a temporary folder that is removed
# at the end. When the server answers, KEY=VALUE lines go to standard output, and READY=yes ends them:
#
#   SERVER                       https://127.0.0.1:PORT
#   CA                           who signed the server's certificate
#   GATEWAY_CERT, GATEWAY_KEY    a client certificate of the user `gateway`, who may impersonate users
#                                and groups (any of them, system:masters too) and nothing else
#   GATEWAY_TOKEN                a file with a static bearer token of the same user
#   ADMIN_CERT, ADMIN_KEY        a client certificate of the group system:masters, for arranging a test
#   ADMIN_KUBECONFIG             the same for kubectl
#   AUDIT_LOG                    one JSON line when an answer has begun (watches) and one when it has ended
#   NAMESPACE                    shop: with secret/database and configmap/settings; the group `agents`
#                                may do everything in it with the core and apps groups, the user
#                                `writer` may patch its secrets and do nothing else
#
#   POD                          with --node: web, running in the namespace; its container has a shell
#
# All programs die with the script, however it ends. There is no controller: namespaces get no service
# account and don't vanish when deleted, Deployments make no Pods. --node adds a real node for logs,
# exec, attach and port-forward; it needs root. There is no scheduler: Pods name the node `localhost`.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$root/scripts/lib/kubernetes-home.sh"
source "$root/scripts/lib/tls.sh"

bin=$kubernetes_home/bin
rbac=/apis/rbac.authorization.k8s.io/v1
declare -A pids=()
temporary='' node=no

# shellcheck disable=SC2317 # reached by the trap
cleanup() {
  local status=$?
  trap - EXIT INT TERM
  # etcd has nothing to save, and the server would wait for its watches.
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null # without bash saying who was killed
  forget_containers
  [[ -z $temporary ]] || rm -rf "$temporary"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: in the background, its output in NAME.log. The kernel ends it when this
# script dies, even by a signal that can't be caught.
start() {
  local name=$1
  shift
  setpriv --pdeathsig KILL "$@" </dev/null >"$name.log" 2>&1 &
  pids[$name]=$!
}

# runs NAME: whether the program is still there.
runs() { kill -0 "${pids[$1]}" 2>/dev/null; }

# died NAME: shows the end of its output, which says why.
died() {
  tail -n 20 "$dir/$1.log" >&2
  fail "$1 has ended"
}

# user NAME SUBJECT: users/NAME.crt and .key, which the API server takes for the subject.
user() {
  [[ ! -s users/$1.crt ]] || return 0
  (
    umask 077
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
      -keyout "users/$1.key" -out "users/$1.csr" 2>/dev/null
    openssl x509 -req -in "users/$1.csr" -CA users/ca.crt -CAkey users/ca.key -CAcreateserial -days 29 \
      -extfile <(printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n') -out "users/$1.crt" 2>/dev/null
  ) || fail "openssl could not make the certificate of $1"
  rm -f "users/$1.csr"
}

# call CURL-ARGUMENTS...: the API, as its administrator. The authority is our own, so that whatever
# else listens on the port doesn't pass for our server.
call() {
  curl --silent --show-error --fail --max-time 10 --noproxy '*' --cacert tls/ca.crt \
    --cert users/admin.crt --key users/admin.key "$@"
}

# create PATH: makes the object on standard input.
create() {
  call --header 'Content-Type: application/yaml' --data-binary @- "$server$1" >/dev/null ||
    fail "the API server doesn't take an object for $1"
}

start_etcd() {
  rm -rf etcd ./*.sock:0
  # Sockets in a closed folder: nobody else gets in, and no port is taken.
  start etcd "$bin/etcd" --name etcd --data-dir etcd --unsafe-no-fsync \
    --listen-client-urls unix://client.sock:0 --advertise-client-urls unix://client.sock:0 \
    --listen-peer-urls unix://peer.sock:0 --initial-advertise-peer-urls unix://peer.sock:0 \
    --initial-cluster etcd=unix://peer.sock:0
  wait_for 20 etcd eval "test -S client.sock:0 || ! runs etcd" || died etcd
  [[ -S client.sock:0 ]] || died etcd
}

start_server() {
  # Below the range that the kernel picks from, and not where another run looks first.
  port=$(free_port $((20000 + RANDOM % 12000)))
  server=https://127.0.0.1:$port
  rm -f audit.log
  start kube-apiserver "$bin/kube-apiserver" --etcd-servers unix://client.sock:0 \
    --bind-address 127.0.0.1 --secure-port "$port" --external-hostname localhost --endpoint-reconciler-type none \
    --tls-cert-file tls/server.crt --tls-private-key-file tls/server.key \
    --client-ca-file users/ca.crt --token-auth-file users/tokens.csv --authorization-mode Node,RBAC \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file tls/server.crt \
    --service-account-signing-key-file tls/server.key --disable-admission-plugins ServiceAccount \
    --service-cluster-ip-range 10.0.0.0/24 \
    --kubelet-client-certificate users/admin.crt --kubelet-client-key users/admin.key \
    --kubelet-certificate-authority tls/ca.crt --kubelet-preferred-address-types Hostname \
    --audit-policy-file audit.yaml --audit-log-path audit.log --audit-log-mode blocking
  wait_for 120 kube-apiserver eval "call $server/readyz || ! runs kube-apiserver" || died kube-apiserver
  runs kube-apiserver || died kube-apiserver
}

# forget_containers: removes the empty control groups that dead containers leave.
forget_containers() {
  local container
  for container in "$dir"/node/tasks/io.containerd.runtime.v2.task/k8s.io/*; do
    rmdir /sys/fs/cgroup/*/"k8s.io/${container##*/}" 2>/dev/null || true
  done
  rmdir /sys/fs/cgroup/*/k8s.io 2>/dev/null || true
}

start_node() {
  local pods=/api/v1/namespaces/shop/pods
  ((EUID == 0)) || fail '--node needs root'
  forget_containers
  rm -rf node
  mkdir node
  kubeconfig node
  start node unshare --mount --pid --fork --kill-child --mount-proc \
    "$root/scripts/lib/kubernetes-node.sh" "$dir" "$(free_port $((20000 + RANDOM % 12000)))"
  create "$pods" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: localhost
  hostNetwork: true
  enableServiceLinks: false
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "localhost/busybox:1", imagePullPolicy: Never, command: [sh, -c, "echo started; exec sleep 1000000"]}
YAML
  wait_for 60 web eval "call $server$pods/web | grep -q '\"phase\": *\"Running\"' || ! runs node" || died node
  runs node || died node
}

write_files() {
  tls_authority tls
  tls_certificate tls server
  tls_authority users
  user gateway /CN=gateway
  user admin /O=system:masters/CN=admin
  user node /O=system:nodes/CN=system:node:localhost
  [[ -s users/gateway.token ]] || (umask 077 && openssl rand -hex 24 >users/gateway.token)
  (umask 077 && printf '%s,gateway,gateway\n' "$(<users/gateway.token)" >users/tokens.csv)
  cat >audit.yaml <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML
}

# kubeconfig NAME: users/NAME.kubeconfig.
kubeconfig() {
  cat >"users/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: real, cluster: {server: "$server", certificate-authority: "$dir/tls/ca.crt"}}]
users: [{name: $1, user: {client-certificate: "$dir/users/$1.crt", client-key: "$dir/users/$1.key"}}]
contexts: [{name: real, context: {cluster: real, user: $1, namespace: shop}}]
current-context: real
YAML
}

# grant KIND NAME RULE: lets the subject do so in the namespace.
grant() {
  create "$rbac/namespaces/shop/roles" <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: $2}
rules: [$3]
YAML
  create "$rbac/namespaces/shop/rolebindings" <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: $2}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: $2}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: $1, name: $2}]
YAML
}

arrange() {
  create "$rbac/clusterroles" <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: gateway}
rules: [{apiGroups: [""], resources: [users, groups], verbs: [impersonate]}]
YAML
  create "$rbac/clusterrolebindings" <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: gateway}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: gateway}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: gateway}]
YAML
  create /api/v1/namespaces <<'YAML'
apiVersion: v1
kind: Namespace
metadata: {name: shop}
YAML
  create /api/v1/namespaces/shop/secrets <<'YAML'
apiVersion: v1
kind: Secret
metadata: {name: database}
stringData: {password: correct-horse}
YAML
  create /api/v1/namespaces/shop/configmaps <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
YAML
  # Roles of our own: `edit` and its like stay empty without the controller that aggregates them.
  grant Group agents '{apiGroups: ["", apps], resources: ["*"], verbs: ["*"]}'
  grant User writer '{apiGroups: [""], resources: [secrets], verbs: [patch]}'
}

case ${1:-} in
  -h | --help) usage && exit ;;
  --node) node=yes && shift ;;
esac
if [[ -z ${1:-} ]]; then
  dir=$(mktemp -d) && temporary=$dir
else
  mkdir -p "$1" && dir=$(cd "$1" && pwd)
fi
kubernetes_is_built || fail 'there is no API server: run scripts/lib/kubernetes-build.sh'
for tool in curl openssl setpriv; do have "$tool" || fail "$tool is missing"; done
chmod 700 "$dir"
cd "$dir"
write_files
start_etcd
start_server
kubeconfig admin
arrange
[[ $node == no ]] || start_node

say "SERVER=$server" "CA=$dir/tls/ca.crt" \
  "GATEWAY_CERT=$dir/users/gateway.crt" "GATEWAY_KEY=$dir/users/gateway.key" "GATEWAY_TOKEN=$dir/users/gateway.token" \
  "ADMIN_CERT=$dir/users/admin.crt" "ADMIN_KEY=$dir/users/admin.key" "ADMIN_KUBECONFIG=$dir/users/admin.kubeconfig" \
  "AUDIT_LOG=$dir/audit.log" 'NAMESPACE=shop'
[[ $node == no ]] || say 'POD=web'
say 'READY=yes'

# None ends by itself.
wait -n || true
for name in etcd kube-apiserver; do runs "$name" || died "$name"; done
died node
