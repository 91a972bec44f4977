# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# The private mount namespace whose root is the tree: the processes in it, the way into it, and how it is made.

# Every process whose root is the given tree, whatever started it and whatever namespace it went on to make (HTCondor
# makes one for each job): no list of pid files can be stale, and none is needed.
processes_in() {
  local p
  [ -d "$1" ] || return 0
  for p in /proc/[0-9]*; do
    if [ "$p/root" -ef "$1" ]; then echo "${p#/proc/}"; fi
  done 2>/dev/null
}

stop_all() {
  local tree tries pids
  for tree in "$root" "$root.new"; do
    for ((tries = 0; tries < 150; tries++)); do
      mapfile -t pids < <(processes_in "$tree")
      ((${#pids[@]})) || continue 2
      # Jobs get three seconds to end by themselves
      if ((tries == 0)); then
        kill -TERM "${pids[@]}" 2>/dev/null || true
      elif ((tries > 30)); then
        kill -KILL "${pids[@]}" 2>/dev/null || true
      fi
      sleep 0.1
    done
    die "these processes in $tree do not end: ${pids[*]}"
  done
  rm -f "$state/holder.pid" "$state/stamp"
}

# The pid of the process that holds the namespace, if it lives. The number alone proves nothing: it may have been reused.
holder() {
  local pid
  pid=$(cat "$state/holder.pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ "/proc/$pid/root" -ef "$root" ] && echo "$pid"
}

# enter USER DIR COMMAND…: becomes COMMAND. Every link of the chain is an exec in the same process (nsenter forks only
# for a pid namespace), so a caller that signals or waits for this process signals and waits for COMMAND.
enter() {
  local name=$1 dir=$2 home pid
  shift 2
  case $name in
  root) home=/root ;;
  *) home=/home/$name ;;
  esac
  pid=$(holder) || die "not up (run: scripts/testbed up)"
  exec nsenter --target "$pid" --mount --uts -- \
    setpriv --reuid "$name" --regid "$name" --init-groups -- \
    env -i --chdir="${dir:-$home}" HOME="$home" USER="$name" LOGNAME="$name" SHELL=/bin/bash \
    PATH="$path" LANG=C.UTF-8 ${TERM:+TERM="$TERM"} "$@"
}

# as USER COMMAND…: the same without becoming it
as() (
  local name=$1
  shift
  enter "$name" '' "$@"
)

# Runs as the first process of the new namespaces and stays, as the handle by which others enter them
hold() {
  # The tree must be a mount point: HTCondor makes a mount namespace for each job and refuses to where / is none
  mount --bind "$root" "$root"
  mount --bind /proc "$root/proc"
  # Without what is mounted in it: cgroups, which the testbed does without
  mount --bind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=755,size=64m tmpfs "$root/run"
  mkdir -p "$root/run/lock"
  chmod 1777 "$root/run/lock"
  mount --bind "$log" "$root/var/log"
  mount --rbind "$project" "$root$project"
  mount -o remount,bind,ro "$root$project"
  mount --bind "$shared" "$root$shared"
  hostname testbed
  cd "$root"
  pivot_root . mnt
  umount -l /mnt
  cd /
  exec -a gleaner-testbed sleep infinity
}

start_namespace() {
  local pid tries
  # In the background of a shell without job control, each of these execs the next: $! is the pid of what `hold` becomes
  unshare --mount --uts --propagation private setsid bash "$self" _hold </dev/null &
  pid=$!
  for ((tries = 0; tries < 100; tries++)); do
    if [ "/proc/$pid/root" -ef "$root" ] && [ "$(cat "/proc/$pid/comm")" = sleep ]; then
      echo "$pid" >"$state/holder.pid"
      return
    fi
    [ -d "/proc/$pid" ] || break
    sleep 0.1
  done
  echo 'the namespace did not come up'
  return 1
}
