#!/bin/sh
# Boots a Gleaner worker inside a batch job, or in a plain process: pilot.sh PILOT
#
# Beside this file lie pilot.env (settings; nothing secret), setup.sh (the site's own lines) and the pilot's one-time
# token. In order:
#   1. run the site's own lines in a shell of theirs;
#   2. find out where it runs: node, job, deadline, CPUs, GPUs, cache and scratch folders;
#   3. get the runtime (a node binary and the worker) from the node's cache, a shared folder or the manager, by SHA-256;
#   4. become the worker, so that the batch system's signals reach it and its exit code is the job's.
#
# It writes to the cache and scratch folders only. When it cannot go on it says so in one line and exits with
#   64 settings        66 no-token     67 no-downloader   68 no-space     69 unreachable     73 setup-failed
#   65 bad-hash        70 refused      71 unusable-node   72 bad-archive  143 evicted
set -u
umask 077
# 3: the log, also where a command's output goes elsewhere. The site's lines may have sent theirs elsewhere for good.
case ${GLEANER_STEP:-} in *" $$") exec >&3 2>&1 ;; *) exec 2>&1 3>&1 && GLEANER_NODE='' ;; esac
pilot=${1:?usage: pilot.sh PILOT}
# HTCondor gives its jobs no PATH, and no HOME either.
export PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}"
case $0 in */*) here=$(cd "${0%/*}" && pwd) ;; *) here=$PWD ;; esac
# It stands in messages and, where it does not work, in the descriptions of jobs that should avoid it.
node=${GLEANER_NODE:-$(printf %s "${SLURMD_NODENAME:-$(uname -n)}" | tr -cd 'A-Za-z0-9._-')}
child='' lock='' partial='' receivers=''

fail() { # CODE NAME MESSAGE
  # A command that such a signal ended did not fail for any reason of its own.
  case $? in 129 | 130 | 143) set -- 143 evicted "$told_to_leave" ;; esac
  trap '' TERM INT HUP
  if [ -n "$child" ]; then kill "$child" 2>/dev/null; fi
  end_receivers
  if [ -n "$partial" ]; then rm -rf "$partial"; fi
  if [ -n "$lock" ]; then rm -rf "$lock"; fi
  echo "gleaner: $pilot on $node: error $1 $2: $3" >&3
  exit "$1"
}
# They wait for each other's ends of the pipes, so no signal may take one of them alone. Descriptor 4 holds their pipe open
# until they have opened it, whatever has become of who was to write to it.
end_receivers() {
  exec 4>&-
  # shellcheck disable=SC2086 # One or several.
  if [ -n "$receivers" ]; then wait $receivers; fi
  receivers=''
}
told_to_leave='told to leave before the worker was up'
told=''
# What must not be done by half stands between these two: a signal that comes meanwhile is acted upon at its end.
hold_signals() { trap 'told=yes' TERM INT HUP; }
heed_signals() {
  trap 'fail 143 evicted "$told_to_leave"' TERM INT HUP
  if [ -n "$told" ]; then fail 143 evicted "$told_to_leave"; fi
}
heed_signals

# Runs a command so that a signal is acted upon at once, not when the command is done.
attended() {
  hold_signals
  "$@" &
  child=$!
  heed_signals
  wait "$child"
  set -- $?
  child=
  return "$1"
}

# --- 1. The site's own lines ----------------------------------------------------------------------------------------

# Three steps in one process, each a program of its own, so that signals reach the last one, limits and the environment that
# setup has set stay, and its functions and shell options do not. The process's number tells them from a leaked variable.
case ${GLEANER_STEP:-} in
  "setup $$")
    # In the site's shell. What it defines may have any name but one that begins with `gleaner_`.
    gleaner_self=$here/${0##*/} gleaner_pilot=$pilot gleaner_setup=$here/setup.sh gleaner_reached='' gleaner_failed=''
    gleaner_before=$(command -p env)
    export GLEANER_STEP="failed $$"
    trap 'export GLEANER_SETUP_END="${gleaner_failed:-it left its shell with exit code $?}"; exec /bin/sh "$gleaner_self" "$gleaner_pilot"' EXIT
    trap 'export GLEANER_STEP="evicted $$"; exec /bin/sh "$gleaner_self" "$gleaner_pilot"' TERM INT HUP
    if [ -n "${BASH_VERSION:-}" ]; then
      # As "set -e" in this file alone: functions and files of others are not written for it.
      # shellcheck disable=SC3047,SC3054,SC2154,SC3028
      trap 'gleaner_code=$? && if [ "${BASH_SOURCE[0]}" = "$gleaner_setup" ]; then gleaner_failed="line $LINENO ($(command -p sed -n "$LINENO{s/^[[:blank:]]*//;s/[=[:blank:]].*//;p;}" "$gleaner_setup")) ended with exit code $gleaner_code"; exit 1; fi' ERR
    fi
    set +u
    # Environment modules are functions, which login shells have from these files.
    if ! command -v module >/dev/null && grep -Eqw 'module|ml' "$gleaner_setup"; then
      for gleaner_file in /etc/profile.d/*mod*.sh; do
        # shellcheck source=/dev/null
        if [ -r "$gleaner_file" ]; then . "$gleaner_file"; fi
      done
    fi
    # shellcheck source=/dev/null
    . "$gleaner_setup"
    { gleaner_code=$? && set +evx; } 2>/dev/null
    gleaner_code=${gleaner_reached:-$gleaner_code}
    # It would have stopped at a failure: this is a condition that was not met.
    if [ -n "${BASH_VERSION:-}" ] && [ -n "$gleaner_reached" ]; then gleaner_code=0; fi
    if [ "$gleaner_code" != 0 ]; then
      if [ -n "$gleaner_reached" ]; then gleaner_failed="its last line ended with exit code $gleaner_reached"; fi
      gleaner_failed=${gleaner_failed:-it was not read to its end (exit code $gleaner_code)}
      exit 1
    fi
    # What it has set is meant for those who work here, whatever its name looks like.
    GLEANER_SETUP_NAMES=$(printf '%s\n' "$gleaner_before" =gleaner= "$(command -p env)" | command -p awk '
      function note() {
        if (name != "" && !second) old[name] = value
        if (name != "" && second && !(name in old && old[name] == value)) printf "%s ", name
        name = ""
      }
      /^=gleaner=$/ { note(); second = 1; next }
      /^[A-Za-z_][A-Za-z0-9_]*(%%|\(\))?=/ { note(); name = value = $0; sub(/=.*/, "", name); next }
      { value = value "\n" $0 }
      END { note() }')
    export GLEANER_SETUP_NAMES GLEANER_STEP="worker $$"
    # Bash would have the next shell begin with the options of this one.
    # shellcheck disable=SC3045
    if [ -n "${BASH_VERSION:-}" ]; then export -n SHELLOPTS BASHOPTS; fi
    trap - EXIT
    exec /bin/sh "$gleaner_self" "$gleaner_pilot"
    ;;
  "failed $$") fail 73 setup-failed "${GLEANER_SETUP_END:-its shell ended}" ;;
  "evicted $$") fail 143 evicted "$told_to_leave" ;;
  "worker $$") command -v mkdir >/dev/null || fail 73 setup-failed "it left a PATH without the system's commands: $PATH" ;;
  *)
    # Those of a job that the factory itself may run in.
    unset GLEANER_PROGRAM GLEANER_RUNTIME_SOURCES GLEANER_SHELL GLEANER_CACHE GLEANER_SHARED GLEANER_MEMORY_MB GLEANER_WALLTIME GLEANER_SETUP_SHELL GLEANER_SETUP_NAMES
    [ -r "$here/pilot.env" ] || fail 64 settings "no pilot.env beside $0"
    set -a
    # shellcheck source=/dev/null
    . "$here/pilot.env"
    set +a
    GLEANER_STARTED=$(date +%s) GLEANER_NODE=$node
    export GLEANER_STARTED GLEANER_NODE
    if [ -s "$here/setup.sh" ] || [ -n "${GLEANER_SETUP_SHELL:-}" ]; then
      shell=${GLEANER_SETUP_SHELL:-bash}
      if ! command -v "${shell%% *}" >/dev/null; then
        [ -z "${GLEANER_SETUP_SHELL:-}" ] || fail 73 setup-failed "there is no ${shell%% *} on this node: setupShell names another shell"
        echo "gleaner: $pilot on $node: there is no bash on this node: setup runs in /bin/sh instead"
        shell=/bin/sh
      fi
      echo "gleaner: $pilot on $node: setup runs in $shell"
      export GLEANER_STEP="setup $$"
      # shellcheck disable=SC2086 # A shell and its flags.
      exec $shell "$here/${0##*/}" "$pilot"
    fi
    ;;
esac
unset GLEANER_STEP
started=$GLEANER_STARTED

# --- 2. Where it runs ---------------------------------------------------------------------------------------------

token_file=$here/tokens/$pilot.token
if [ ! -r "$token_file" ]; then token_file=$here/$pilot.token; fi
[ -r "$token_file" ] || fail 66 no-token "no token for $pilot in $here"

job=$$ restarts=0 deadline='' scratch='' gpus='' gpus_by=''
cpus=${GLEANER_CPUS:-1} memory=${GLEANER_MEMORY_MB:-}
if [ -n "${GLEANER_WALLTIME:-}" ]; then deadline=$((started + ${GLEANER_WALLTIME%.*})); fi

# Batch systems name a job's GPUs by these, often by several at once; whose GPUs they are, the worker asks the drivers.
for name in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES ZE_AFFINITY_MASK; do
  eval "value=\${$name:-}"
  case $value in
    '') ;;
    # How they say that a job has no GPU, where those of the node can be seen nevertheless.
    none | None | NoDevFiles | void | -1 | 10000) gpus=none ;;
    *) gpus=$value gpus_by=$name && break ;;
  esac
done

ad() { # FILE ATTRIBUTE: a number or string of a ClassAd in HTCondor's "old" format
  sed -n "s/^$2 *= *\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$1" 2>/dev/null | head -n 1
}

if [ -n "${SLURM_JOB_ID:-}" ]; then
  job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-0}}
  job=${job:-$SLURM_JOB_ID}
  restarts=${SLURM_RESTART_COUNT:-0}
  deadline=${SLURM_JOB_END_TIME:-$deadline}
  cpus=${SLURM_CPUS_ON_NODE:-$cpus}
  memory=${SLURM_MEM_PER_NODE:-$memory}
  gpus=${gpus:-${SLURM_JOB_GPUS:-}}
elif [ -n "${PBS_JOBID:-}" ]; then
  job=$PBS_JOBID
  cpus=${NCPUS:-$cpus}
elif [ -n "${_CONDOR_JOB_AD:-}" ]; then
  job=$(ad "$_CONDOR_JOB_AD" ClusterId)
  job=$job.$(ad "$_CONDOR_JOB_AD" ProcId)
  starts=$(ad "$_CONDOR_JOB_AD" NumShadowStarts)
  restarts=$((${starts:-1} - 1))
  if [ "$restarts" -lt 0 ]; then restarts=0; fi
  machine=${_CONDOR_MACHINE_AD:-/dev/null}
  cpus=$(ad "$machine" Cpus)
  cpus=${cpus:-$GLEANER_CPUS}
  memory=$(ad "$machine" Memory)
  name=$(ad "$machine" Machine)
  node=$(printf %s "${name:-$node}" | tr -cd 'A-Za-z0-9._-')
  scratch=${_CONDOR_SCRATCH_DIR:-}
  gpus=${gpus:-${_CONDOR_AssignedGPUs:-}}
fi
if [ -n "$gpus" ] && [ "${GLEANER_ASKED_GPUS:-}" = 0 ]; then
  if [ "$gpus" != none ]; then echo "gleaner: $pilot on $node: GPUs $gpus are left alone: the site asks for none (gpus: 0)"; fi
  gpus=''
fi

# Bash 5.2 misreads a command with two substitutions if a trapped signal comes during the first: hence a line for each.
uid=$(id -u)

# Whether only this user and the system can change what is at a path: nothing on the way to it, from the root on, is
# anybody else's, or may be written by others, unless they may touch only what is theirs there, as in /tmp. What is safe in this
# way stays so: others can neither move it away nor put a link in its place. Otherwise $offender says what is wrong.
is_safe() { # PATH
  way='' rest=${1#/}
  set -- /
  while [ -n "$rest" ]; do
    way=$way/${rest%%/*}
    set -- "$@" "$way"
    case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
  done
  offender=$(find "$@" -prune ! \( \( -user "$uid" -o -user 0 \) \( -type l -o -perm -1000 -o ! -perm -0020 ! -perm -0002 \) \) 2>&1)
  if [ -z "$offender" ]; then return 0; fi
  # Rarer: a group that is this user's alone, and a container in which the system's folders seem to be another user's.
  group=$(id -gn)
  if [ "$group" != "$(id -un)" ]; then group=0; fi
  system=$(ls -ldn / | awk '{ print $3 }')
  offender=$(find "$@" -prune ! \( \( -user "$uid" -o -user 0 -o -user "$system" \) \
    \( -type l -o -perm -1000 -o ! -perm -0002 \( ! -perm -0020 -o -group 0 -o -group "$group" \) \) \) 2>&1)
  if [ -z "$offender" ]; then return 0; fi
  offender=$(printf '%s\n' "$offender" | head -n 1)
  offender="$offender belongs to $(ls -ld "$offender" 2>/dev/null | awk '{ print $3 ", mode " $1 }')"
  return 1
}

# Makes a folder that is this user's alone, unless it is there.
usable() { # FOLDER: 0 done, 1 it cannot be written, 2 others could change what is in it, or programs cannot be run there
  if [ -z "$1" ]; then return 1; fi
  (mkdir -p "$1") 2>/dev/null
  if [ "$1" = "$scratch/cache" ]; then # The way to it is the batch system's.
    offender="$1 is another user's"
  elif [ -e "$1" ] || [ -L "$1" ]; then
    is_safe "$1" || return 2
    real=$(cd -P "$1" 2>/dev/null && pwd -P)
    if [ -n "$real" ] && [ "$real" != "$1" ]; then is_safe "$real" || return 2; fi
    offender="$1 is another user's, or can be written by others"
  fi
  [ -d "$1" ] && [ -w "$1" ] || return 1
  [ -n "$(find "$1/." -prune -user "$uid" ! -perm -0020 ! -perm -0002 2>/dev/null)" ] || return 2
  chmod go-rwx "$1"
  offender='programs cannot be run there: is it mounted noexec?'
  printf '#!/bin/sh\n' >"$1/runs.$$" && chmod u+x "$1/runs.$$" || offender="nothing can be written there: $(room_at "$1")"
  "$1/runs.$$" 2>/dev/null
  set -- $? "$1/runs.$$"
  rm -f "$2"
  [ "$1" = 0 ] || return 2
}

mb_at() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }
room_at() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) " MB left on the filesystem at " $6 }'; }

# The first usable one of these is the node's cache. The last ones are for nodes where another user has taken the others' names.
asked=${GLEANER_CACHE:-}
while [ "${asked%/}" != "$asked" ]; do asked=${asked%/}; done
cache='' tried=''
for folder in "$asked" "/tmp/gleaner-$uid" "/var/tmp/gleaner-$uid" \
  "${TMPDIR:+$TMPDIR/gleaner}" "${scratch:+$scratch/cache}" /tmp/gleaner-"$uid".* new; do
  if [ "$folder" = new ]; then folder=$(mktemp -d "/tmp/gleaner-$uid.XXXXXX" 2>/dev/null); fi
  usable "$folder"
  case $? in
    0) cache=$folder && break ;;
    2) echo "gleaner: $pilot on $node: $folder is not used as cache: $offender" ;;
    1) if [ -n "$folder" ] && [ "$folder" = "$asked" ]; then break; fi ;;
  esac
  tried="$tried${folder:+ $folder}"
done
[ -n "$cache" ] || fail 68 no-space "no cache folder can be used: tried ${asked:-$tried}"

# Scratch of pilots that were killed here long ago goes with the next one that comes by.
if [ -z "$scratch" ]; then
  scratch=$cache/scratch
  mkdir -p "$scratch" && find "$scratch" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} + 2>/dev/null
fi
scratch=$scratch/$pilot.$$
mkdir -p "$scratch" || fail 68 no-space "cannot make the scratch folder $scratch"

# What a site's proxy cannot reach, or need not: this machine, and managers that answer without it.
if [ -n "${http_proxy:-}${https_proxy:-}${all_proxy:-}${HTTP_PROXY:-}${HTTPS_PROXY:-}${ALL_PROXY:-}" ]; then
  direct=${no_proxy:-${NO_PROXY:-}}
  direct=${direct:+$direct,}localhost,127.0.0.1,::1
  for manager in $GLEANER_MANAGER; do
    host=${manager#*://}
    host=${host%%/*}
    case $host in "["*) host=${host#?} host=${host%%"]"*} ;; *) host=${host%:*} ;; esac
    # Any answer will do, that of an unknown certificate included.
    if attended curl --noproxy '*' --insecure --silent --output /dev/null --connect-timeout 3 --max-time 5 "$manager" 2>/dev/null; then
      direct=$direct,$host
    fi
  done
  export no_proxy="$direct" NO_PROXY="$direct"
fi

# --- 3. The runtime -----------------------------------------------------------------------------------------------

runtime=$cache/runtime/$GLEANER_RUNTIME_SHA256
if [ -n "${GLEANER_RUNTIME_ZSTD_SHA256:-}" ] && zstd --version >/dev/null 2>&1; then
  # The same, and unpacked in a fifth of the time.
  sha256=$GLEANER_RUNTIME_ZSTD_SHA256 archive=${GLEANER_RUNTIME_ZSTD_FILE:-} expand='zstd -dcq'
else
  sha256=$GLEANER_RUNTIME_SHA256 archive=${GLEANER_RUNTIME_FILE:-} expand='gzip -dcq'
fi

take_hash() {
  if command -v sha256sum >/dev/null; then
    sha256sum
  elif command -v shasum >/dev/null; then
    shasum -a 256
  else
    openssl dgst -sha256 -r
  fi
}

# Takes all that comes, also after an error: whether the bytes were right is for their hash to say.
unpack() {
  # shellcheck disable=SC2086 # A command and its flags.
  { $expand | tar -xf - -C "$partial/runtime"; } 2>"$partial/complaint"
  echo $? >"$partial/unpacked"
  cat >/dev/null
}

# Has a command write the archive to $partial/archive, and hashes and unpacks it while it comes. What comes out stays in
# this pilot's own folder, where nothing is run from, until the hash has turned out to be right.
receive() { # COMMAND...: 0 done, 1 the command has failed, 2 it has sent something else
  rm -rf "$partial"
  mkdir "$partial" "$partial/runtime" || fail 68 no-space "cannot write to $cache/runtime"
  if mkfifo "$partial/archive" "$partial/copy" 2>/dev/null; then
    exec 4<>"$partial/archive"
    hold_signals
    { trap '' TERM INT HUP && exec 4>&- && take_hash <"$partial/copy" >"$partial/hash"; } &
    receivers=$!
    { trap '' TERM INT HUP && exec <"$partial/archive" 4>&- && tee "$partial/copy" | unpack; } &
    receivers="$receivers $!"
    heed_signals
    attended "$@"
    failed=$?
  else # A filesystem without pipes: one after the other.
    : >"$partial/archive"
    attended "$@"
    failed=$?
    take_hash <"$partial/archive" >"$partial/hash" &
    receivers=$!
    unpack <"$partial/archive" &
    receivers="$receivers $!"
  fi
  end_receivers
  if [ "$failed" != 0 ]; then return 1; fi
  read -r sum _ 2>/dev/null <"$partial/hash" || fail 68 no-space "cannot write to $partial ($(room_at "$cache"); quota?)"
  if [ "$sum" != "$sha256" ]; then return 2; fi
  if [ "$(cat "$partial/unpacked")" = 0 ]; then return 0; fi
  complaint=$(tail -n 1 "$partial/complaint")
  fail 68 no-space "cannot unpack the runtime in $cache ($(room_at "$cache"); quota?): $complaint"
}

from_file() { exec cat "$archive" >"$partial/archive"; }

# The token travels in a file only its owner can read, never as an argument that `ps` would show to all users. A relay gets none: it
# is not the manager, and the hash says whether what it sends is right.
from_url() { # URL
  token='' certificate=''
  if [ -z "${GLEANER_RUNTIME_SOURCES:-}" ]; then
    token=$(cat "$token_file")
    if [ -s "$here/ca.pem" ]; then certificate=$here/ca.pem; fi
  fi
  if [ "$downloader" = curl ]; then
    {
      printf 'url = "%s"\n' "$1"
      if [ -n "$token" ]; then printf 'header = "Authorization: Bearer %s"\n' "$token"; fi
      if [ -n "$certificate" ]; then printf 'cacert = "%s"\n' "$certificate"; fi
    } >"$scratch/request"
    exec curl --config "$scratch/request" --silent --show-error --fail --connect-timeout 15 \
      --speed-limit 1024 --speed-time 60 --dump-header "$scratch/headers" >"$partial/archive" 2>"$scratch/answer"
  fi
  {
    if [ -n "$token" ]; then printf 'header = Authorization: Bearer %s\n' "$token"; fi
    if [ -n "$certificate" ]; then printf 'ca_certificate = %s\n' "$certificate"; fi
  } >"$scratch/request"
  exec wget --config="$scratch/request" --no-verbose --server-response --tries=1 --timeout=60 \
    --output-document=- "$1" >"$partial/archive" 2>"$scratch/headers"
}

# Waits out a manager that restarts, about four minutes in all.
from_manager() {
  if command -v curl >/dev/null; then
    downloader=curl
  elif wget --version 2>/dev/null | grep -q '^GNU Wget'; then
    downloader=wget
  else
    fail 67 no-downloader "neither curl nor GNU wget on this node, and $archive cannot be read here"
  fi
  sources=${GLEANER_RUNTIME_SOURCES:-$GLEANER_MANAGER}
  echo "gleaner: $pilot on $node: gets the runtime from $sources"
  for pause in 1 2 4 8 15 30 30 30 30 30 0; do
    for source in $sources; do
      : >"$scratch/headers"
      receive from_url "${source%/}/v1/runtime/$sha256"
      received=$?
      rm -f "$scratch/request"
      case $received in
        0) return 0 ;;
        2) fail 65 bad-hash "the runtime from $source does not have SHA-256 $sha256" ;;
      esac
      code=$(sed -n 's/^ *HTTP\/[0-9.]* \([0-9]*\).*/\1/p' "$scratch/headers" | tail -n 1)
      case $code in
        4??) fail 70 refused "$source answered $code for the runtime: this pilot's token or runtime is no longer valid" ;;
      esac
    done
    complaint=$(cat "$scratch/answer" "$scratch/headers" 2>/dev/null | tail -n 1)
    echo "gleaner: $pilot on $node: cannot reach $sources for the runtime: $complaint"
    attended sleep "$pause"
  done
  fail 69 unreachable "no runtime from $sources: $complaint"
}

have_runtime() { [ -x "$runtime/node" ] && [ -r "$runtime/worker.js" ]; }

# One pilot of a node fetches, the others wait for it: a lock is left behind only by a pilot that was killed.
lock_is_stale() {
  owner_node='' owner_pid=''
  read -r owner_node owner_pid 2>/dev/null <"$runtime.lock/owner"
  if [ "$owner_node" = "$(uname -n)" ] && ! kill -0 "$owner_pid" 2>/dev/null; then return 0; fi
  [ -z "$(find "$runtime.lock" -prune -mmin -15 2>/dev/null)" ]
}

take_lock() {
  hold_signals
  if (trap '' TERM INT HUP && exec mkdir "$runtime.lock") 2>/dev/null; then
    lock=$runtime.lock
    echo "$(uname -n) $$" >"$lock/owner"
  fi
  heed_signals
  [ -n "$lock" ]
}

install_runtime() {
  mkdir -p "$cache/runtime" || fail 68 no-space "cannot write to $cache"
  said=''
  until take_lock; do
    if [ -z "$said" ]; then said=yes && echo "gleaner: $pilot on $node: waits for another pilot of this node that fetches the runtime"; fi
    if lock_is_stale; then rm -rf "$runtime.lock"; fi
    attended sleep 1
    if have_runtime; then return 0; fi
    [ -w "$cache/runtime" ] || fail 68 no-space "cannot write to $cache/runtime"
  done
  if ! have_runtime; then
    find "$cache/runtime" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} + 2>/dev/null
    if [ "$(mb_at "$cache")" -lt "${GLEANER_RUNTIME_MB:-0}" ]; then
      fail 68 no-space "the runtime takes $GLEANER_RUNTIME_MB MB in $cache, and there are $(room_at "$cache")"
    fi
    partial=$cache/runtime/partial.$pilot.$$
    { [ -r "$archive" ] && receive from_file; } || from_manager
    [ -x "$partial/runtime/node" ] || fail 72 bad-archive "the runtime holds no node binary"
    rm -rf "$runtime"
    mv "$partial/runtime" "$runtime"
    rm -rf "$partial"
    partial=''
  fi
  rm -rf "$lock"
  lock=''
}

if have_runtime; then
  # Keeps tools that tidy up /tmp by age from taking the cache apart.
  find "$runtime" -exec touch -c {} + 2>/dev/null
else
  install_runtime
fi
newline='
'
version=$("$runtime/node" -v 2>&1) || {
  limit=$(ulimit -v)
  case $limit in unlimited) limit='' ;; *) limit=" (setup or the batch system limits its address space to $limit kB: ulimit -v)" ;; esac
  fail 71 unusable-node "the runtime's node does not run here: ${version##*"$newline"}$limit"
}

# --- 4. Become the worker -----------------------------------------------------------------------------------------

export GLEANER_MANAGER GLEANER_TOKEN_FILE="$token_file" GLEANER_CACHE="$cache" GLEANER_SCRATCH="$scratch"
export GLEANER_JOB_ID="$job" GLEANER_RESTARTS="$restarts" GLEANER_NODE="$node"
export GLEANER_CPUS="$cpus" GLEANER_GRACE
# Programs that were compiled once start sooner. Beside the runtime: goes with it.
export NODE_COMPILE_CACHE="$runtime/compiled"
if [ -s "$here/ca.pem" ]; then export GLEANER_CA_FILE="$here/ca.pem"; fi
if [ -n "${GLEANER_SHARED:-}" ]; then export GLEANER_SHARED; fi
if [ -n "$deadline" ]; then export GLEANER_DEADLINE="$deadline"; fi
if [ -n "$memory" ]; then export GLEANER_MEMORY_MB="$memory"; else unset GLEANER_MEMORY_MB; fi
unset GLEANER_GPUS GLEANER_GPUS_BY
if [ -n "$gpus" ]; then export GLEANER_GPUS="$gpus" GLEANER_GPUS_BY="$gpus_by"; fi
for name in GLEANER_ASKED_GPUS GLEANER_GPUS_PER_SLOT GLEANER_SLOTS_PER_GPU; do
  eval "value=\${$name:-}"
  if [ -n "$value" ]; then export "$name"; fi
done

echo "gleaner: $pilot on $node: job $job, started $((restarts + 1)) times, node $version, runtime $runtime"
trap - TERM INT HUP
export HOME="${HOME:-$scratch}"
cd "$scratch" || fail 68 no-space "cannot enter $scratch"
exec "$runtime/node" "$runtime/${GLEANER_PROGRAM:-worker}.js" 3>&-
