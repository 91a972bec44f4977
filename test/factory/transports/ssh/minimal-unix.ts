import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

/** What every Unix has (POSIX, and tar, gzip and a hash): no Node, no curl, no wget, no Python. */
const TOOLS =
  'sh cat chmod cp cut date dd df dirname env find grep gzip head id kill ls mkdir mkfifo mv printf ps pwd rm rmdir sed setsid sha256sum ' +
  'sleep sort tail tar tee touch tr true uname wc'

/**
 * A server's setting by which sessions have these tools alone, however the user's own system is fitted out.
 * @param folder gets links to them
 */
export function bareSystem(folder: string): string {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const tool of TOOLS.split(' ')) {
    const found = execFileSync('sh', ['-c', 'command -v "$1"', 'sh', tool], { encoding: 'utf8', env: { PATH: '/usr/bin:/bin' } }) // prettier-ignore
    symlinkSync(found.trim().startsWith('/') ? found.trim() : join('/usr/bin', tool), join(bin, tool))
  }
  return `ForceCommand PATH=${bin} exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`
}
