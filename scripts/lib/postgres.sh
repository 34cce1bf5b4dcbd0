# A private PostgreSQL: own folder, own port, loopback only, TLS on. Sourced after common.sh.
# shellcheck shell=bash

# Where the server's programs are: the newest that Debian installed, else those on the path.
pg_bin() {
  local newest
  newest=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
  if [[ -n $newest && -x $newest/initdb ]]; then
    printf '%s\n' "$newest"
  elif have initdb && have pg_ctl; then
    dirname "$(command -v initdb)"
  else
    return 1
  fi
}

# as_server COMMAND...: PostgreSQL refuses to run as root.
as_server() {
  if ((EUID == 0)); then runuser -u postgres -- "$@"; else "$@"; fi
}

# pg_home DIR: a folder for the cluster, which the server's account can reach: below DIR, or, for
# root, below that account's home when DIR is closed to it.
pg_home() {
  local dir=$1
  if ((EUID != 0)) || runuser -u postgres -- test -x "$dir" 2>/dev/null; then
    printf '%s/postgres\n' "$dir"
  else
    printf '%s/gateway-%s\n' "$(getent passwd postgres | cut -d: -f6)" "$(cksum <<<"$dir" | cut -d' ' -f1)"
  fi
}

# pg_create HOME CERTIFICATE KEY: a cluster with a superuser `postgres` that logs in by socket only.
pg_create() {
  local home=$1 bin
  bin=$(pg_bin)
  mkdir -p "$home"
  ((EUID != 0)) || chown postgres: "$home"
  as_server chmod 700 "$home"
  if ! as_server test -f "$home/data/PG_VERSION"; then
    as_server "$bin/initdb" -D "$home/data" -U postgres -E UTF8 --locale=C.UTF-8 \
      --auth-local=trust --auth-host=scram-sha-256 >"$home/initdb.log" 2>&1 ||
      fail "initdb failed: see $home/initdb.log"
    # The socket's folder is closed to everybody but the server's own account.
    as_server tee "$home/data/pg_hba.conf" >/dev/null <<HBA
local   all all trust
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl all all ::1/128      scram-sha-256
HBA
  fi
  as_server tee "$home/server.crt" <"$2" >/dev/null
  as_server install -m 600 /dev/null "$home/server.key"
  as_server tee "$home/server.key" <"$3" >/dev/null
}

# pg_start HOME PORT
pg_start() {
  local home=$1 bin
  bin=$(pg_bin)
  as_server "$bin/pg_ctl" -D "$home/data" -w -l "$home/server.log" -o "-c listen_addresses=localhost \
    -c port=$2 -c unix_socket_directories=$home -c ssl=on -c ssl_cert_file=$home/server.crt \
    -c ssl_key_file=$home/server.key -c fsync=off" start >/dev/null 9>&- ||
    fail "PostgreSQL doesn't start: see $home/server.log"
}

# pg_stop HOME: quietly, and not at all if it doesn't run.
pg_stop() {
  as_server "$(pg_bin)/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null 2>&1 || true
}

# pg_admin HOME PORT PSQL-ARGUMENTS...: as the superuser, by the socket that only it can reach.
pg_admin() {
  local home=$1 port=$2
  shift 2
  as_server env -u PGSERVICE -u PGSERVICEFILE PGOPTIONS='-c client_min_messages=warning' \
    psql -X -q -v ON_ERROR_STOP=1 -h "$home" -p "$port" -U postgres "$@"
}
