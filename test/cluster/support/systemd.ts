import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '../../factory/support/eventually.ts'

const SYSTEMD = '/usr/lib/systemd/systemd'
if (!existsSync(SYSTEMD)) throw new Error(`this test needs ${SYSTEMD}: install the package systemd`)

/**
 * Whatever booted this machine, the user's systemd finds what it looks for: a booted system, and a cgroup of its own.
 * Both exist in a namespace only, and for as long as standard input is open.
 */
const SCRIPT = `
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/$1
mkdir -p "$group/user"
chown -R "$2" "$group"
sh -c 'echo $$ >"$0/user/cgroup.procs"; exec "$@"' "$group" setpriv --reuid "$2" --regid "$2" --clear-groups "$3" --user &
cat
echo 1 >"$group/cgroup.kill"
wait 2>/dev/null || true
until find "$group" -depth -type d -exec rmdir {} +; do sleep 0.1; done
`

/** A user's systemd. */
export interface UserSystemd extends AsyncDisposable {
  /** `systemctl --user`. @returns what it printed @throws if it fails */
  systemctl(...args: string[]): string
}

/** Starts a systemd of the user `uid`, whose home is `home`. It takes root. */
export async function userSystemd(uid: number, home: string): Promise<UserSystemd> {
  const runtime = join(home, 'run')
  execFileSync('install', ['-d', '-m', '700', '-o', String(uid), '-g', String(uid), runtime])
  const env = { HOME: home, PATH: process.env.PATH, XDG_RUNTIME_DIR: runtime }
  const script = ['-c', SCRIPT, 'sh', `gleaner-test-${process.pid}`, String(uid), SYSTEMD]
  const child = spawn('unshare', ['--mount', '--cgroup', 'bash', ...script], {
    env,
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  const systemctl = (...args: string[]) =>
    execFileSync('systemctl', ['--user', '--no-pager', ...args], { env, uid, gid: uid, encoding: 'utf8' })
  const end = async () => {
    const ended = once(child, 'exit')
    child.stdin.end()
    await ended
  }
  try {
    await eventually('the systemd of the user runs', () => existsSync(join(runtime, 'systemd/private')))
  } catch (error) {
    await end()
    throw error
  }
  return { systemctl, [Symbol.asyncDispose]: end }
}
