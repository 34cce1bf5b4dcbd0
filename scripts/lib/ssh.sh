# A private sshd, and OpenSSH's client through the gateway to it. Sourced after stack.sh.
# shellcheck shell=bash disable=SC2154 # $dir, $gateway and others are stack.sh's

sshd_options=()

# ssh_start: the target `web`, for the gateway's key only.
ssh_start() {
  step 'A private sshd'
  local home=$dir/sshd key
  mkdir -p "$home"
  for key in host gateway; do
    [[ -s $home/$key ]] || ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$home/$key"
  done
  cp "$home/gateway.pub" "$home/authorized"
  ((EUID)) || mkdir -p /run/sshd # where it drops its privileges
  sshd_port=$(free_port 2200)
  start sshd /usr/sbin/sshd -D -e -f /dev/null -o "ListenAddress=127.0.0.1:$sshd_port" -o "HostKey=$home/host" \
    -o "AuthorizedKeysFile=$home/authorized" -o PidFile=none -o StrictModes=no -o UsePAM=no \
    -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password -o Subsystem='sftp internal-sftp' \
    "${sshd_options[@]}"
  wait_for 5 sshd eval "! is_free $sshd_port" || fail "sshd doesn't start: see $dir/sshd.log"
  say "Runs on port $sshd_port; its one account is $(id -un)."
}

# ssh_configure: adds listener, target and rules to what the gateway starts with.
ssh_configure() {
  ssh_port=$(free_port 2222)
  local host_key starter=$root/gateway-policy/starter/ssh
  host_key=$(cut -d ' ' -f 1,2 "$dir/sshd/host.pub")
  cat >>"$dir/gateway.toml" <<TOML

[[listener]]
address = "127.0.0.1:$ssh_port"
protocol = "ssh"                      # shared: the user name is the target

[[target]]
name = "web"
protocol = "ssh"
address = "127.0.0.1:$sshd_port"
environment = "prod"
user = "$(id -un)"                    # the account; agents are known to the gateway only
key_file = "sshd/gateway"
host_keys = ["$host_key"]
durability = "${durability:-strict}"
TOML
  cp "$starter"/{commands.cedar,commands.toml,files.cedar} "$dir/policy/"
}

# ssh_agent ARGUMENT...: ssh as orders-bot; prints the command and what came of it, keeps it in $said.
ssh_agent() {
  printf '%s$ ssh web %s%s\n' "$dim" "$*" "$plain"
  said=$(ssh -F "$dir/client/ssh/config" -o BatchMode=yes web "$@" 2>&1 </dev/null) && status=0 || status=$?
  say "$said"
}

# ssh_play: what an agent may do there, and what not.
ssh_play() {
  step 'SSH: orders-bot gets a certificate for its token, and ssh just works'
  local token="'$gateway' token --kind client-secret --tenant $tenant --client-id ${client[orders-bot]} --scope $scope"
  token+=" --authority $authority --ca '$authority_ca' --client-secret-file '$dir/client/orders-bot.secret'"
  said=$("$gateway" ssh-config web --address "localhost:$ssh_port" --token-command "$token" --dir "$dir/client/ssh")
  say "$said"
  holds '^ssh -F ' 'the key is certified'
  ssh_agent uptime
  holds 'load average' 'a command on the list runs'
  ssh_agent 'cat /etc/passwd'
  holds '^gateway: ' 'another one is refused, and told so'
  verdict 'with the status of what may not be run' test "$status" = 126
  lacks 'root:' 'nothing of the file is seen'
  ssh_agent -tt
  holds '^gateway: ' 'there are no shells for agents'
}

# ssh_try: lines for the person at the terminal.
ssh_try() {
  say "  ssh -F $dir/client/ssh/config web uptime"
}
