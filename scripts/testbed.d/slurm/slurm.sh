# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# Slurm in the testbed, and munge, by which its parts know each other.

prepare_slurm() {
  rm -rf "$root/var/lib/slurm"
  chroot "$root" install -d -o slurm -g slurm -m 755 /var/lib/slurm /var/lib/slurm/slurmctld
  mkdir -p "$root/etc/slurm"
  cp "$config"/slurm/*.conf "$root/etc/slurm/"
  rm -f "$root"/etc/slurm/gpu?
  mknod "$root/etc/slurm/gpu0" c 1 3
  mknod "$root/etc/slurm/gpu1" c 1 3
}

start_munge() {
  as root sh -euc 'install -d -o munge -g munge -m 755 /run/munge; install -d -o munge -g munge -m 700 /var/log/munge
    exec setpriv --reuid munge --regid munge --init-groups munged' || return 1
  until_true 20 munge_well
}
munge_well() { as root sh -c 'munge -n | unmunge' >/dev/null; }

start_slurm() {
  as root install -d -o slurm -g slurm -m 755 /run/slurm /var/log/slurm || return 1
  until_true 60 slurm_started
}
slurm_started() { mend_slurm && until_true 5 slurm_well; }
# Starts the controller and the nodes that do not run, and puts those that a test wore out (a job that would not die drains its node) back
# to work: neither is worth the jobs on the others
# shellcheck disable=SC2016 # the script expands these
mend_slurm() {
  as root sh -euc '
    if ! kill -0 "$(cat /run/slurm/slurmctld.pid 2>/dev/null)" 2>/dev/null; then slurmctld; fi
    for n in $(seq '"$nodes"'); do
      if ! kill -0 "$(cat /run/slurm/slurmd-n$n.pid 2>/dev/null)" 2>/dev/null; then
        mkdir -p -m 755 /var/lib/slurm/slurmd-n$n
        slurmd -N n$n
      fi
    done
    bad=$(timeout 20 sinfo -h -N -p low -o "%N %T" | awk "\$2 ~ /down|drain|fail/ { print \$1 }" | paste -sd,)
    if [ -n "$bad" ]; then scontrol update "nodename=$bad" state=resume; fi'
}
slurm_well() {
  local rows
  rows=$(as root timeout 20 sinfo -h -N -p low -o '%N %T') &&
    [ "$(awk '$2 ~ /^(idle|mixed|allocated|completing|planned)$/' <<<"$rows" | wc -l)" = "$nodes" ]
}

# A job, not an answer to a query, tells that the system works
# shellcheck disable=SC2016 # the scripts expand these
prove_slurm() {
  as "$user" sh -euc '
    mkdir -p .testbed-slurm && cd .testbed-slurm && rm -f proof
    id=$(sbatch --parsable --partition=low --time=2 --output=proof --wrap "echo ran on \$SLURMD_NODENAME")
    for try in $(seq 300); do
      if grep "^ran on n" proof; then exit 0; fi
      sleep 0.3
    done 2>/dev/null
    scontrol show job "$id"; cat proof; exit 1'
}
