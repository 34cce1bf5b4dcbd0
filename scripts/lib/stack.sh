# PostgreSQL with the sample shop, a development issuer and the gateway, all private, all loopback.
# Sourced after common.sh; state is kept in $dir, children are stopped when the script ends.
# shellcheck shell=bash
source "$root/scripts/lib/postgres.sh"
source "$root/scripts/lib/tls.sh"

tenant=11111111-1111-4111-8111-111111111111
scope=api://gateway/.default
declare -gA client=( # global also when sourced by a function
  [orders-bot]=b0b0b0b0-0000-4000-8000-000000000001
  [fraud-bot]=b0b0b0b0-0000-4000-8000-000000000002
)
children=() pg=''
# Protocols beside PostgreSQL; each has a script here, with the functions PROTOCOL_start and so on.
with=()

# ---- Starting and stopping --------------------------------------------------------------------

cleanup() {
  local status=$? child
  trap - EXIT INT TERM
  ((${#children[@]} == 0)) || say '' "Stopping." >&2
  for child in "${children[@]}"; do kill -TERM "$child" 2>/dev/null || true; done
  for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
  [[ -z $pg ]] || pg_stop "$pg"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: in the background, its output in $dir/NAME.log, stopped at the end.
start() {
  local name=$1
  shift
  "$@" >"$dir/$name.log" 2>&1 9>&- &
  children+=($!)
}

# ready NAME SECONDS: until NAME has written its ready file, or has ended.
ready() {
  local child=${children[-1]}
  wait_for "$2" "$1" eval "test -s '$dir/$1.ready.json' || ! kill -0 $child" && [[ -s $dir/$1.ready.json ]] && return
  tail -n 20 "$dir/$1.log" >&2
  fail "the $1 doesn't start: see $dir/$1.log"
}

# member FILE NAME: a string member of flat JSON.
member() { sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p" "$1" | head -n 1; }

# build PROFILE: the gateway and the issuer, with the features that the tests build with, so that
# neither builds what the other has built.
build() {
  run cargo build --locked --workspace --all-features --profile "$1" --bin gateway --bin issuer
  bin_dir=${CARGO_TARGET_DIR:-$root/target}/$1
  gateway=$bin_dir/gateway
}

# open_state: makes $dir, for one script at a time.
open_state() {
  mkdir -p "$dir"
  chmod 711 "$dir"
  exec 9>"$dir/lock"
  flock -n 9 || fail "another script runs in $dir"
}

start_postgres() {
  step 'A private PostgreSQL with a sample shop'
  tls_authority "$dir/tls"
  tls_certificate "$dir/tls" gateway
  tls_certificate "$dir/tls" postgres
  [[ -s $dir/gateway.password ]] || (umask 077 && openssl rand -hex 24 >"$dir/gateway.password")
  local home
  home=$(pg_home "$dir")
  pg_create "$home" "$dir/tls/postgres.crt" "$dir/tls/postgres.key"
  pg_stop "$home" # of a run that was killed
  pg=$home
  postgres_port=$(free_port 54329)
  pg_start "$home" "$postgres_port"
  {
    say 'drop database if exists shop;' 'drop role if exists gateway;'
    say "create role gateway login noinherit password '$(<"$dir/gateway.password")';" 'create database shop;'
  } | pg_admin "$home" "$postgres_port"
  pg_admin "$home" "$postgres_port" -d shop <"$root/examples/sample/shop.sql"
  say "Runs on port $postgres_port, in $home."
}

start_issuer() {
  step 'A development issuer, in place of Entra ID'
  rm -f "$dir/issuer.ready.json"
  start issuer "$bin_dir/issuer" --config "$root/examples/sample/directory.toml" \
    --cert-dir "$dir/issuer" --ready-file "$dir/issuer.ready.json"
  ready issuer 10
  authority=$(member "$dir/issuer.ready.json" authority)
  authority_ca=$(member "$dir/issuer.ready.json" ca)
  say "Runs at $authority. It knows orders-bot, fraud-bot, Rita the reviewer and Omar the operator."
}

start_gateway() {
  step 'The gateway, with the starter policy'
  gateway_port=$(free_port 6432)
  admin_port=$(free_port 8443)
  rm -rf "$dir/policy"
  cp -r "$root/gateway-policy/starter/postgres" "$dir/policy"
  cat "$root/examples/sample/agents.toml" >>"$dir/policy/agents.toml"
  sed -e "s|@authority@|$authority|; s|@authority_ca@|$authority_ca|; s|@admin_port@|$admin_port|" \
    -e "s|@gateway_port@|$gateway_port|; s|@postgres_port@|$postgres_port|; s|@durability@|${durability:-strict}|" \
    "$root/examples/sample/gateway.toml" >"$dir/gateway.toml"
  for lane in "${with[@]}"; do "${lane}_configure"; done
  export GATEWAY_CONFIG=$dir/gateway.toml GATEWAY_URL=https://localhost:$admin_port GATEWAY_CA=$dir/tls/ca.crt
  run "$gateway" check || fail 'the configuration is not right'
  rm -f "$dir/gateway.ready.json"
  start gateway "$gateway" run --ready-file "$dir/gateway.ready.json"
  ready gateway 15
  say '' "Agents connect to port $gateway_port, reviewers to $GATEWAY_URL."
}

# ---- Tokens -----------------------------------------------------------------------------------

# token AGENT: an access token of the agent, as its own code would get it.
token() {
  "$gateway" token --kind client-secret --tenant "$tenant" --client-id "${client[$1]}" --scope "$scope" \
    --authority "$authority" --ca "$authority_ca" --client-secret-file "$dir/client/$1.secret"
}

# Everything an unmodified libpq client needs: `psql service=shop`, `psql service=shop-fraud`.
write_services() {
  local agent service pass
  mkdir -p "$dir/client" && chmod 700 "$dir/client"
  : >"$dir/client/pg_service.conf"
  for agent in orders-bot fraud-bot; do
    service=shop
    [[ $agent == orders-bot ]] || service=shop-fraud
    pass=$dir/client/$agent.pgpass
    (umask 077 && printf '%s-secret' "$agent" >"$dir/client/$agent.secret")
    (umask 077 && printf '*:*:*:*:%s\n' "$(token "$agent")" >"$pass.new") || fail "no token for $agent"
    mv "$pass.new" "$pass"
    cat >>"$dir/client/pg_service.conf" <<SERVICE
[$service]
host=localhost
port=$gateway_port
dbname=shop
user=$agent
passfile=$pass
sslmode=verify-full
sslrootcert=$dir/tls/ca.crt
application_name=psql

SERVICE
  done
  export PGSERVICEFILE=$dir/client/pg_service.conf
}

