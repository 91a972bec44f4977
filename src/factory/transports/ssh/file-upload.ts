import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { posix } from 'node:path'
import { pipeline } from 'node:stream'
import { createThrottle } from '../../../common/tunnel/throttle.ts'
import type { HostLink } from './host-link.ts'
import type { RunOwnScript } from './own-scripts.ts'
import { shellWord } from './remote-script.ts'

export type FileUploadOptions = {
  link: HostLink
  /** Keeps factories apart that use the same folder. */
  factoryId: string
  /** Most bytes a second of a large file. Default: no limit. */
  bandwidth?: number | undefined
}

/** Sends a large file to a place on the submit node, or the rest of it if it was begun before. */
export type SendFile = (
  file: { path: string; sha256: string },
  to: string,
  signal: AbortSignal,
) => Promise<void>

/** Files in a folder that were last used so many days ago are removed from it when another is sent there. */
const KEPT_DAYS = 30

/** By SFTP; by a command where there is none. What arrives is checked against its hash. */
export function fileUpload({ link, factoryId, bandwidth }: FileUploadOptions, own: RunOwnScript): SendFile {
  return async (file, to, signal) => {
    const part = `${to}.${factoryId}.part`
    const { size } = await stat(file.path)
    const offset = await sentBytes(own, to, part, size, signal)
    if (offset === undefined) return
    let refused = false
    try {
      await link.session(
        (connection) =>
          connection.upload(file.path, part, { offset, bandwidth, signal }).catch(async (error: unknown) => {
            refused = !(await connection.fault())
            throw error
          }),
        signal,
      )
    } catch (error) {
      if (signal.aborted) throw error
      // Where one write was refused, later ones may have been taken: its length does not say what has arrived.
      if (refused) await own(cutTo(part, offset), signal, `send ${to}`)
      // No SFTP here, greetings of a shell in its midst, or a full disk, for which it has no word: a command gets by, or says why not.
      const start = await sentBytes(own, to, part, size, signal)
      if (start === undefined) return
      const throttle = createThrottle(bandwidth).stream()
      const rest = pipeline(createReadStream(file.path, { start }), throttle, () => {})
      await own(`cat >>${shellWord(part)}`, signal, `send ${to}`, rest)
    }
    await own(finish(part, to, file.sha256), signal, `send ${to}`)
  }
}

/** @returns how much of a file is there already, bytes; undefined for all of it */
async function sentBytes(
  own: RunOwnScript,
  to: string,
  part: string,
  size: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const [whole, begun, parent] = [to, part, posix.dirname(to)].map(shellWord)
  const look = [
    'umask 077',
    `if [ -f ${whole} ]; then touch -c ${whole}; echo here; exit; fi`,
    `mkdir -p ${parent} || exit`,
    `find ${parent} -type f -mtime +${KEPT_DAYS} -exec rm -f {} + 2>/dev/null`,
    `if [ -f ${begun} ]; then wc -c <${begun}; else echo 0; fi`,
  ]
  const said = (await own(look.join('\n'), signal, `look for ${to}`)).trim()
  if (said === 'here') return undefined
  if (Number(said) <= size) return Number(said)
  // What is longer than the file is none of ours.
  await own(`rm -f ${begun}`, signal, `remove ${part}`)
  return 0
}

/** Cuts a file to a length, or makes it, in a shell of any age. */
const cutTo = (path: string, bytes: number) => `dd if=/dev/null of=${shellWord(path)} bs=1 seek=${bytes}`

/** Puts a file that has arrived in its place if it is what it should be. */
function finish(part: string, to: string, sha256: string): string {
  const hash = `{ sha256sum 2>/dev/null || shasum -a 256 2>/dev/null || openssl dgst -sha256 -r; }`
  return [
    `read -r sum _ <<EOF\n$(${hash} <${shellWord(part)})\nEOF`,
    `if [ "$sum" = ${sha256} ]; then mv ${shellWord(part)} ${shellWord(to)}; exit; fi`,
    `rm -f ${shellWord(part)}; echo "it arrived as SHA-256 $sum" >&2; exit 1`,
  ].join('\n')
}
