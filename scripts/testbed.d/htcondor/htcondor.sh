# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# HTCondor in the testbed.

prepare_condor() {
  rm -rf "$root/var/spool/condor" "$root/var/lib/condor"
  chroot "$root" install -d -o condor -g condor -m 755 /var/spool/condor /var/lib/condor /var/lib/condor/execute
  cp "$config/htcondor/condor.conf" "$root/etc/condor/config.d/99-testbed.conf"
}

start_condor() {
  as root install -d -o condor -g condor -m 755 /run/condor /run/lock/condor /var/log/condor || return 1
  as root condor_master || return 1
  until_true 60 condor_well || return 1
  # An accounting that outlives the pool would make the first preemption depend on what ran before
  as root condor_userprio -setfactor "$boss@testbed" 10
}
condor_well() {
  local names
  names=$(as root timeout 20 condor_status -af Name 2>&1) && [[ $names == *slot1@* ]] || return 1
  as "$user" timeout 20 condor_q -totals >/dev/null 2>&1
}

# A job, not an answer to a query, tells that the system works
# shellcheck disable=SC2016 # the scripts expand these
prove_condor() {
  as "$user" sh -euc '
    rm -rf .testbed && mkdir -p .testbed && cd .testbed
    printf "%s\n" "executable = /bin/true" "log = proof.log" "request_cpus = 1" "request_memory = 64" queue >proof.sub
    condor_submit proof.sub
    condor_wait -wait 90 proof.log || { condor_q -better-analyze; cat proof.log; exit 1; }
    grep "Normal termination (return value 0)" proof.log'
}
