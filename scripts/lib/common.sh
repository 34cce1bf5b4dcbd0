# Shared by the scripts: strict mode, the root, and how things are said. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Where the one profile's artifacts land.
bin_dir=${CARGO_TARGET_DIR:-$root/target}/ci
script=${0##*/}

if [[ -t 1 ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi

# say LINE...: lines for the person at the terminal.
say() { printf '%s\n' "$@"; }

# step TEXT...: the heading of what comes next.
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

# fail TEXT...: says why and ends the script.
fail() {
  printf '%s%s: %s%s\n' "$red" "$script" "$*" "$plain" >&2
  exit 1
}

# run COMMAND...: prints a command and runs it.
run() {
  printf '%s$ %s%s\n' "$dim" "$*" "$plain"
  "$@"
}

# have COMMAND: whether it is on the path.
have() { command -v "$1" >/dev/null 2>&1; }

# usage: prints the comment at the top of the script that was called.
usage() {
  sed -n '2,/^[^#]/{/^#/!q;s/^# \{0,1\}//p}' "$0"
}

# is_free PORT: whether nobody listens there on loopback.
is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FIRST: the first free port from FIRST on.
free_port() {
  local port=$1
  while ! is_free "$port"; do port=$((port + 1)); done
  printf '%s\n' "$port"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local seconds=$1 what=$2 deadline
  shift 2
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}
