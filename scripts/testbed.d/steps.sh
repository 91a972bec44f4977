# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# What a command of the testbed says, one step after the other, one command at a time.

say() { printf 'testbed: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# step NAME LOG COMMAND…: runs COMMAND with its output in LOG; a failure names the step and shows the log's end.
# The lock's descriptor is closed for it: a daemon that inherits it would hold the lock for as long as it lives.
step() {
  local name=$1 file=$2
  shift 2
  say "$name"
  if ! "$@" >>"$file" 2>&1 9>&-; then
    say "FAILED: $name"
    say "the end of $file:"
    tail -n 25 "$file" >&2 || true
    # A step that waits for daemons has little to say itself
    local daemon
    for daemon in "${daemon_logs[@]}"; do
      if [ -s "$daemon" ]; then
        say "the end of $daemon:"
        tail -n 10 "$daemon" >&2
      fi
    done
    exit 1
  fi
}
daemon_logs=()

need_root() { [ "$(id -u)" = 0 ] || die "'$1' needs root (mount namespaces, and jobs of several users)"; }

lock() {
  mkdir -p "$base" "$state"
  exec 9>"$base/lock"
  flock -n 9 && return
  say 'waiting for another testbed command'
  flock -w 600 9 || die "another testbed command has held $base/lock for ten minutes"
}

# until_true SECONDS COMMAND…
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.3
  done
}
