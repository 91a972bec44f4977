# shellcheck shell=bash
# shellcheck disable=SC2154 # scripts/testbed, which reads this file, has set them
# The testbed's sshd: a submit node that is reached from elsewhere.

prepare_sshd() {
  cp "$config/sshd/sshd_config" "$root/etc/ssh/sshd_testbed_config"
  # The host's side of ssh: a key for the one user, and what to expect of the server
  mkdir -p "$state/ssh"
  chmod 700 "$state/ssh"
  if [ ! -s "$state/ssh/id_ed25519" ] || [ ! -s "$root/etc/ssh/testbed_host_key" ]; then
    rm -f "$root"/etc/ssh/testbed_host_key* "$root"/tmp/key*
    chroot "$root" ssh-keygen -q -t ed25519 -N '' -C testbed -f /etc/ssh/testbed_host_key
    chroot "$root" ssh-keygen -q -t ed25519 -N '' -C "$user@testbed" -f /tmp/key
    cp "$root/tmp/key.pub" "$state/ssh/id_ed25519.pub"
    cp --preserve=mode "$root/tmp/key" "$state/ssh/id_ed25519"
    rm -f "$root"/tmp/key*
  fi
  cp "$state/ssh/id_ed25519.pub" "$root/etc/ssh/testbed_authorized_keys"
  echo "[127.0.0.1]:$ssh_port $(cut -d' ' -f1,2 "$root/etc/ssh/testbed_host_key.pub")" >"$state/ssh/known_hosts"
}

start_sshd() {
  as root sh -euc 'install -d -m 755 /run/sshd; exec /usr/sbin/sshd -f /etc/ssh/sshd_testbed_config -E /var/log/sshd.log' || return 1
  until_true 20 sshd_well
}
sshd_well() (
  local banner
  exec 3<>"/dev/tcp/127.0.0.1/$ssh_port" || return 1
  read -r -t 5 banner <&3 && [[ $banner == SSH-* ]]
) 2>/dev/null
