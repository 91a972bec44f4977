#!/bin/sh
# One pilot of site {{ site.name }} as a process of this machine: local.sh PILOT, in the submission's folder.

# Who this process is, so that a factory started later finds it again and never mistakes another one for it.
read -r stat </proc/self/stat
read -r boot </proc/sys/kernel/random/boot_id
printf '%s %s\n' "$boot" "$stat" >"jobs/.$1" && mv "jobs/.$1" "jobs/$1"

exec /bin/sh ./pilot.sh "$1"
