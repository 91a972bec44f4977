# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# The ports that the daemons listen on.

# The kernel gives any free port of its range to a connection that goes out, and then no daemon can listen there: ours
# are taken out of that range until `down`. A kernel that does not let us is no failure; starting is tried again anyway.
reserve_ports() {
  if [ -w "$reserved" ] && [ ! -e "$state/reserved.before" ]; then
    cp "$reserved" "$state/reserved.before"
    { grep . "$state/reserved.before"; echo "$ports"; } | paste -sd, >"$reserved" || say "$reserved cannot be changed"
  fi
}
release_ports() {
  if [ -e "$state/reserved.before" ]; then
    cat "$state/reserved.before" >"$reserved" || true
    rm "$state/reserved.before"
  fi
}
