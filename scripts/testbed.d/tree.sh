# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# The Debian tree: built once with the packages of both systems, and prepared anew before each start.

# How this machine's apt reaches Debian: every archive that it has for its own release
mirrors() {
  if [ -n "${GLEANER_TESTBED_MIRROR:-}" ]; then
    echo "$GLEANER_TESTBED_MIRROR"
    return
  fi
  local codename
  # shellcheck disable=SC1091 # a file of the host
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016 # apt fills these in
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v codename="$codename" '$2 == codename && $3 == "main" && $1 ~ /^(https?|file|copy):/ && !seen[$1]++ { print $1 }'
}

# Runs in namespaces of its own that end with the caller, so that an interrupted build, even a killed one, leaves
# no mount and no process behind
build_tree() {
  local new=$root.new mirror proxy='' include='' found=''
  rm -rf --one-file-system "$new"

  # apt's proxy, for the debootstrap that does not read apt's configuration
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  if [ -n "${proxy:-}" ] && [ "$proxy" != DIRECT ]; then export http_proxy="$proxy"; fi
  proxy=''
  eval "$(apt-config shell proxy Acquire::https::Proxy)"
  if [ -n "${proxy:-}" ] && [ "$proxy" != DIRECT ]; then export https_proxy="$proxy"; fi

  for mirror in $(mirrors); do
    case $mirror in https:*) include=--include=ca-certificates ;; esac
    if debootstrap --variant=minbase $include "$suite" "$new" "$mirror"; then
      found=$mirror
      break
    fi
    rm -rf --one-file-system "$new"
  done
  if [ -z "$found" ]; then
    echo "no archive that this machine's apt uses has $suite; name one in GLEANER_TESTBED_MIRROR"
    return 1
  fi

  # The rest is apt's work, set up as the host's apt is
  apt-config dump | grep -E '^Acquire::(https?|Check-|Retries)' | grep -v 'Auto-Detect' >"$new/etc/apt/apt.conf.d/90host" || true
  cp -L /etc/resolv.conf "$new/etc/resolv.conf" || true
  cp -L /etc/hosts "$new/etc/hosts"
  # No daemon starts by itself, nothing but the programs is unpacked, and a crash loses a cache, not data
  printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
  chmod 755 "$new/usr/sbin/policy-rc.d"
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
    'path-exclude=/usr/share/locale/*' 'path-exclude=/usr/share/info/*' >"$new/etc/dpkg/dpkg.cfg.d/testbed"
  mount -t proc proc "$new/proc"
  chroot "$new" env -i PATH="$path" LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh -euc '
    apt-get update -q
    apt-get install -q -y --no-install-recommends '"$packages"'
    apt-get clean
    rm -rf /var/lib/apt/lists/*'
  umount "$new/proc"

  # `*` and not the default `!`: sshd takes the latter for a locked account
  chroot "$new" useradd --uid "$uid" --create-home --shell /bin/bash --password '*' "$user"
  chroot "$new" useradd --uid "$boss_uid" --create-home --shell /bin/bash --password '*' "$boss"
  chmod 700 "$new/home/$user" "$new/home/$boss"
  # The packages' own configuration of the pool gives way to the testbed's
  rm -f "$new"/etc/condor/config.d/*
  echo "$recipe" >"$new/etc/gleaner-testbed"
  rm -rf --one-file-system "$root"
  mv "$new" "$root"
}

# What a reboot does for a machine: no job, lock or pid file of an earlier life is left, and configuration is the project's
prepare_tree() {
  find "$root/tmp" "$root/var/tmp" -xdev -mindepth 1 -delete
  prepare_condor
  prepare_slurm

  echo testbed >"$root/etc/hostname"
  {
    # The first name is the one that daemons take for the machine's own
    echo '127.0.0.1 testbed localhost'
    grep -v -E '^[0-9.:]+[[:space:]]+localhost[[:space:]]*$' /etc/hosts || true
  } >"$root/etc/hosts"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
  prepare_sshd

  mkdir -p "$shared"
  chown "$uid:$uid" "$shared"
  local dir
  for dir in "$shared" "$project"; do
    mkdir -p "$root$dir"
    # A checkout under a private folder (/root, say) is as reachable in the tree as any
    while dir=${dir%/*} && [ -n "$dir" ]; do chmod a+rx "$root$dir"; done
  done
}
