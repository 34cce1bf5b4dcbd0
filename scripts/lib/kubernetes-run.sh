#!/usr/bin/env bash
# Runs a real Kubernetes API server and its etcd on loopback, until it is stopped.
#
#   scripts/lib/kubernetes-run.sh [DIR]
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
# Both programs die with the script, however it ends. There is no controller and no node: Pods stay
# pending, namespaces get no service account and don't vanish when deleted.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$root/scripts/lib/kubernetes-home.sh"
source "$root/scripts/lib/tls.sh"

rbac=/apis/rbac.authorization.k8s.io/v1
children=() temporary=''

# shellcheck disable=SC2317 # reached by the trap
cleanup() {
  local status=$?
  trap - EXIT INT TERM
  # etcd has nothing to save, and the server would wait for its watches.
  for child in "${children[@]}"; do kill -KILL "$child" 2>/dev/null || true; done
  wait 2>/dev/null # without bash saying who was killed
  [[ -z $temporary ]] || rm -rf "$temporary"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME ARGUMENTS...: in the background, its output in NAME.log. The kernel ends it when this
# script dies, even by a signal that can't be caught.
start() {
  local name=$1
  shift
  setpriv --pdeathsig KILL "$kubernetes_home/bin/$name" "$@" </dev/null >"$name.log" 2>&1 &
  children+=($!)
}

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
  start etcd --name etcd --data-dir etcd --unsafe-no-fsync \
    --listen-client-urls unix://client.sock:0 --advertise-client-urls unix://client.sock:0 \
    --listen-peer-urls unix://peer.sock:0 --initial-advertise-peer-urls unix://peer.sock:0 \
    --initial-cluster etcd=unix://peer.sock:0
  etcd=${children[-1]}
  wait_for 20 etcd eval "test -S client.sock:0 || ! kill -0 $etcd" || died etcd
  [[ -S client.sock:0 ]] || died etcd
}

start_server() {
  # Below the range that the kernel picks from, and not where another run looks first.
  port=$(free_port $((20000 + RANDOM % 12000)))
  server=https://127.0.0.1:$port
  rm -f audit.log
  start kube-apiserver --etcd-servers unix://client.sock:0 \
    --bind-address 127.0.0.1 --secure-port "$port" --external-hostname localhost --endpoint-reconciler-type none \
    --tls-cert-file tls/server.crt --tls-private-key-file tls/server.key \
    --client-ca-file users/ca.crt --token-auth-file users/tokens.csv --authorization-mode RBAC \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file tls/server.crt \
    --service-account-signing-key-file tls/server.key --disable-admission-plugins ServiceAccount \
    --service-cluster-ip-range 10.0.0.0/24 \
    --audit-policy-file audit.yaml --audit-log-path audit.log --audit-log-mode blocking
  apiserver=${children[-1]}
  wait_for 120 kube-apiserver eval "call $server/readyz || ! kill -0 $apiserver" || died kube-apiserver
  kill -0 "$apiserver" 2>/dev/null || died kube-apiserver
}

write_files() {
  tls_authority tls
  tls_certificate tls server
  tls_authority users
  user gateway /CN=gateway
  user admin /O=system:masters/CN=admin
  [[ -s users/gateway.token ]] || (umask 077 && openssl rand -hex 24 >users/gateway.token)
  (umask 077 && printf '%s,gateway,gateway\n' "$(<users/gateway.token)" >users/tokens.csv)
  cat >audit.yaml <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML
}

write_kubeconfig() {
  cat >users/admin.kubeconfig <<YAML
apiVersion: v1
kind: Config
clusters: [{name: real, cluster: {server: "$server", certificate-authority: "$dir/tls/ca.crt"}}]
users: [{name: admin, user: {client-certificate: "$dir/users/admin.crt", client-key: "$dir/users/admin.key"}}]
contexts: [{name: real, context: {cluster: real, user: admin, namespace: shop}}]
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
  '') dir=$(mktemp -d) && temporary=$dir ;;
  *) mkdir -p "$1" && dir=$(cd "$1" && pwd) ;;
esac
kubernetes_is_built || fail 'there is no API server: run scripts/lib/kubernetes-build.sh'
for tool in curl openssl setpriv; do have "$tool" || fail "$tool is missing"; done
chmod 700 "$dir"
cd "$dir"
write_files
start_etcd
start_server
write_kubeconfig
arrange

say "SERVER=$server" "CA=$dir/tls/ca.crt" \
  "GATEWAY_CERT=$dir/users/gateway.crt" "GATEWAY_KEY=$dir/users/gateway.key" "GATEWAY_TOKEN=$dir/users/gateway.token" \
  "ADMIN_CERT=$dir/users/admin.crt" "ADMIN_KEY=$dir/users/admin.key" "ADMIN_KUBECONFIG=$dir/users/admin.kubeconfig" \
  "AUDIT_LOG=$dir/audit.log" 'NAMESPACE=shop' 'READY=yes'

# Neither ends by itself.
wait -n || true
if kill -0 "$etcd" 2>/dev/null; then died kube-apiserver; else died etcd; fi
