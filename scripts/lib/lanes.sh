# SSH and Kubernetes through the gateway against direct. Sourced by soak, after its own functions.
# shellcheck shell=bash disable=SC2154,SC2034 # $dir, $gateway and others are stack.sh's and soak's
source "$root/scripts/lib/ssh.sh"
source "$root/scripts/lib/kubernetes.sh"

# ---- Both ways to each lane -------------------------------------------------------------------

# lanes_start: without the evidence of a run that was killed, which would be read at the start.
lanes_start() { rm -rf "$dir/data"; }

# lanes_configure: everything that is measured is allowed; Secrets stay masked.
lanes_configure() {
  rm "$dir/policy/files.cedar"
  cat >"$dir/policy/lanes.cedar" <<'CEDAR'
@id("what-is-measured")
permit (
  principal in Role::"Gateway.Connect",
  action in [Action::"ssh.exec", Action::"ssh.transfer", Action::"k8s.exec"],
  resource
);
CEDAR
}

# arrange_ssh: $dir/client/ssh/config and direct.ssh lead to the same sshd, as `web`.
arrange_ssh() {
  local token="'$gateway' token --kind client-secret --tenant $tenant --client-id ${client[orders-bot]} --scope $scope"
  token+=" --authority $authority --ca '$authority_ca' --client-secret-file '$dir/client/orders-bot.secret'"
  "$gateway" ssh-config web --address "localhost:$ssh_port" --token-command "$token" --dir "$dir/client/ssh" >/dev/null
  ln -sf client/ssh/config "$dir/gateway.ssh"
  printf 'web %s\n' "$(cut -d ' ' -f 1,2 "$dir/sshd/host.pub")" >"$dir/direct.hosts"
  cat >"$dir/direct.ssh" <<CONFIG
Host web
  HostName localhost
  Port $sshd_port
  User $(id -un)
  IdentityFile $dir/sshd/gateway
  IdentitiesOnly yes
  UserKnownHostsFile $dir/direct.hosts
  HostKeyAlias web
CONFIG
  head -c 256M /dev/urandom >"$dir/blob"
  head -c 128M "$dir/blob" >"$dir/half"
  for side in direct gateway; do
    rm -f "$dir/$side.mux"
    ssh -F "$dir/$side.ssh" -o BatchMode=yes -o ControlPath="$dir/$side.mux" -o ControlMaster=yes \
      -o ControlPersist=600 -N -f web 9>&- || fail "ssh gets no connection, $side"
  done
}

# close_ssh: ends the shared connections.
close_ssh() {
  for side in direct gateway; do ssh -F "$dir/$side.ssh" -o ControlPath="$dir/$side.mux" -O exit web 2>/dev/null || true; done
}

# arrange_kubernetes: $dir/direct.curl and gateway.curl, and 500 objects of two kinds.
arrange_kubernetes() {
  declare -gA api=([direct]=$(kubernetes_fact SERVER) [gateway]=https://localhost:$kubernetes_port)
  declare -gA authority_of=([direct]=$(kubernetes_fact CA) [gateway]=$dir/tls/ca.crt)
  # Kept by name of a file, so that no token stands on a command line.
  (
    umask 077
    printf 'cacert = "%s"\ncert = "%s"\nkey = "%s"\n' "${authority_of[direct]}" \
      "$(kubernetes_fact ADMIN_CERT)" "$(kubernetes_fact ADMIN_KEY)" >"$dir/direct.curl"
    printf 'cacert = "%s"\nheader = "Authorization: Bearer %s"\n' "${authority_of[gateway]}" \
      "$(token orders-bot)" >"$dir/gateway.curl"
  )
  local object
  for object in ConfigMap Secret; do
    for ((n = 0; n < 500; n++)); do
      printf -- '---\napiVersion: v1\nkind: %s\nmetadata: {name: lane-%s}\ndata: {value: "%s"}\n' "$object" "$n" \
        "$(printf '%0200d' "$n")"
    done
  done | "$kubectl" --kubeconfig "$(kubernetes_fact ADMIN_KUBECONFIG)" create -f - >/dev/null || fail 'the API server takes not all objects'
}

# ---- What is measured: each takes a side, and a count or an amount ------------------------------

commands() {
  local n
  for ((n = 0; n < $2; n++)); do ssh -F "$dir/$1.ssh" -o ControlPath="$dir/$1.mux" web true </dev/null; done
}
connections() {
  local n
  for ((n = 0; n < $2; n++)); do ssh -F "$dir/$1.ssh" -o BatchMode=yes web true </dev/null; done
}
output() { ssh -F "$dir/$1.ssh" -o ControlPath="$dir/$1.mux" web "cat $dir/blob" </dev/null | cmp - "$dir/blob"; }
transfer() { sftp -q -F "$dir/$1.ssh" -o ControlPath="$dir/$1.mux" -b - web >/dev/null; }
downloads() { transfer "$1" <<<"get $dir/half $dir/fetched"; }
uploads() { transfer "$1" <<<"put $dir/half $dir/put"; }

# calls SIDE COUNT PATH OPTION...: that many GETs on one connection, all of them answered with 200.
calls() {
  local side=$1 count=$2 path=$3 answered
  shift 3
  # A fragment isn't sent; it only tells curl how often.
  answered=$(curl -sS -K "$dir/$side.curl" -o /dev/null -w '%{http_code}\n' "$@" \
    "${api[$side]}/api/v1/namespaces/shop/$path#[1-$count]" 2>"$dir/curl.err" | grep -c '^200$') || true
  [[ $answered == "$count" ]] || fail "$answered of $count calls of $path were answered, $side: $(tail -n 3 "$dir/curl.err")"
}
gets() { calls "$1" "$2" configmaps/settings; }
gets_at_once() { calls "$1" "$2" configmaps/settings --parallel --parallel-max 8; }
lists() { calls "$1" "$2" configmaps; }
secrets() { calls "$1" "$2" secrets; }

# programs SIDE COUNT: `echo` in a container, by WebSocket, one connection each.
programs() {
  local secret=
  [[ $1 == direct ]] || secret=$(sed -n 's/^header = "\(.*\)"/\1/p' "$dir/gateway.curl")
  python3 - "${api[$1]}" "${authority_of[$1]}" "$(kubernetes_fact ADMIN_CERT)" "$(kubernetes_fact ADMIN_KEY)" "$2" \
    3<<<"$secret" <<'PYTHON'
import socket, ssl, sys
url, authority, certificate, key, count = sys.argv[1:]
credential = open(3).read().strip()
tls = ssl.create_default_context(cafile=authority)
if not credential:
    tls.load_cert_chain(certificate, key)
host, port = url.removeprefix("https://").split(":")
request = (
    "GET /api/v1/namespaces/shop/pods/web/exec?command=echo&command=hello&stdout=1 HTTP/1.1\r\n"
    f"Host: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n"
    + (credential + "\r\n" if credential else "") + "\r\n"
)
for _ in range(int(count)):
    with tls.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host) as stream:
        stream.sendall(request.encode())
        answer = b""
        while b"Success" not in answer and (data := stream.recv(65536)):
            answer += data
        assert b"hello\n" in answer and b"Success" in answer, answer
PYTHON
}

# ---- Measuring --------------------------------------------------------------------------------

# used: CPU time of the gateway so far, µs.
used() { awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1e6 / tick }' "/proc/$gateway_pid/stat"; }

# timed SIDE WHAT COUNT: one run, in units per second.
timed() {
  local began=$EPOCHREALTIME
  "$2" "$1" "$3" || fail "$2 failed, $1"
  awk -v began="$began" -v ended="$EPOCHREALTIME" -v count="$3" 'BEGIN { print count / (ended - began) }'
}

lanes() {
  local rounds=${seconds:-5} name unit what count round before
  source "$root/scripts/lib/stack.sh"
  with=(ssh kubernetes lanes)
  api_server_options=(--node)
  # Without what the account's shell does at its start.
  sshd_options=(-o "SetEnv=HOME=$dir/sshd")
  ((EUID == 0)) || fail 'a node for exec needs root'
  stack release
  gateway_pid=${children[-1]}
  arrange_ssh
  arrange_kubernetes
  step "$rounds rounds, direct and gateway in turns, medians; evidence $durability"
  say '| case | direct | gateway | ratio | CPU of the gateway |' '|---|---|---|---|---|'
  while read -r what count unit name; do
    local -a d=() g=() r=() c=()
    for side in direct gateway; do "$what" "$side" 1; done # both warm
    for ((round = 0; round < rounds; round++)); do
      d+=("$(timed direct "$what" "$count")")
      before=$(used)
      g+=("$(timed gateway "$what" "$count")")
      c+=("$(awk "BEGIN { print ($(used) - $before) / $count }")")
      r+=("$(awk "BEGIN { print ${g[-1]} / ${d[-1]} }")")
    done
    printf '| %s | %.4g %s | %.4g | %.2f | %.3g ms/%s |\n' "$name" "$(printf '%s\n' "${d[@]}" | median)" "$unit/s" \
      "$(printf '%s\n' "${g[@]}" | median)" "$(printf '%s\n' "${r[@]}" | median)" \
      "$(printf '%s\n' "${c[@]}" | median | awk '{ print $1 / 1000 }')" "$unit"
  done <<'CASES'
commands 30 cmd SSH: `true`, on a connection that is there
connections 5 cmd SSH: `true`, a connection each
output 256 MiB SSH: output of a program
downloads 128 MiB SFTP: a download
uploads 128 MiB SFTP: an upload
gets 300 call Kubernetes: one object
gets_at_once 600 call the same, 8 at once by HTTP/2
lists 10 call Kubernetes: a list of 500 objects
secrets 10 call Kubernetes: a list of 500 Secrets, masked
programs 5 cmd Kubernetes: `echo` in a container
CASES
  close_ssh
  kill -TERM "$gateway_pid"
  wait "$gateway_pid" || true
  rm -rf "$dir/data" "$dir"/{blob,half,fetched,put} # gigabytes
}
