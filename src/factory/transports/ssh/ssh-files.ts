import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { posix, relative } from 'node:path'
import { pipeline, Readable } from 'node:stream'
import { create } from 'tar'
import { createThrottle } from '../../../common/tunnel/throttle.ts'
import { shellPath } from '../../submissions/submit-template.ts'
import { type JobFiles, TransportError } from '../transport.ts'
import type { HostLink } from './host-link.ts'
import { ownScript, shellWord } from './remote-script.ts'
import type { ScriptRunner } from './script-runner.ts'

export type SshFilesOptions = {
  link: HostLink
  runner: ScriptRunner
  /** How the host is named for the user. */
  host: string
  /** The folder here whose parts have their places below the folder there. */
  root: string
  /** The folder there, as the user writes it: absolute, or below `~` or a variable. */
  folder: string
  /** Keeps factories apart that use the same folder. */
  factoryId: string
  /** Most bytes a second of a large file. Default: no limit. */
  bandwidth?: number | undefined
}

/** Runtimes that were last used so many days ago are removed from the submit node. */
const RUNTIME_DAYS = 30

/** Files of jobs on a submit node: a submission's folder goes there in one stream, a large file by SFTP. */
export function sshFiles({
  link,
  runner,
  host,
  root,
  folder,
  factoryId,
  bandwidth,
}: SshFilesOptions): JobFiles {
  let base: string | undefined
  const delivering = new Map<string, Promise<string>>()

  /** Where everything of this user's lies, absolute. A login node that comes in another one's place has the same home. */
  async function findBase(signal: AbortSignal): Promise<string> {
    if (base !== undefined) return base
    const { code, stdout, stderr } = await runner.run(
      ownScript(`cd && mkdir -p ${shellPath(folder)} && cd ${shellPath(folder)} && pwd`, runner.mark),
      signal,
    )
    const found = stdout.replace(/\n$/, '')
    if (code !== 0 || !found.startsWith('/') || /[\r\n]/.test(found))
      throw new TransportError(`${host}: there can be no folder ${folder}: ${stderr.trim() || found}`)
    return (base = found)
  }

  async function own(script: string, signal: AbortSignal, doing: string, input?: Readable): Promise<string> {
    const { code, stdout, stderr } = await runner.run(ownScript(script, runner.mark), signal, input)
    if (code !== 0)
      throw new TransportError(`${host}: cannot ${doing}: ${stderr.trim() || `exit code ${code}`}`)
    return stdout
  }

  /** @returns how much of a file is there already, bytes; undefined for all of it */
  async function sentOf(
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
      `find ${parent} -type f -mtime +${RUNTIME_DAYS} -exec rm -f {} + 2>/dev/null`,
      `if [ -f ${begun} ]; then wc -c <${begun}; else echo 0; fi`,
    ]
    const said = (await own(look.join('\n'), signal, `look for ${to}`)).trim()
    if (said === 'here') return undefined
    if (Number(said) <= size) return Number(said)
    // What is longer than the file is none of ours.
    await own(`rm -f ${begun}`, signal, `remove ${part}`)
    return 0
  }

  async function send(
    file: { path: string; sha256: string },
    to: string,
    signal: AbortSignal,
  ): Promise<void> {
    const part = `${to}.${factoryId}.part`
    const { size } = await stat(file.path)
    const sent = await sentOf(to, part, size, signal)
    if (sent === undefined) return
    try {
      await link.session(
        (connection) => connection.upload(file.path, part, { offset: sent, bandwidth, signal }),
        signal,
      )
    } catch (error) {
      if (signal.aborted) throw error
      // No SFTP here, greetings of a shell in its midst, or a full disk, for which it has no word: a command gets by, or says why not.
      const start = await sentOf(to, part, size, signal)
      if (start === undefined) return
      const rest = pipeline(
        createReadStream(file.path, { start }),
        createThrottle(bandwidth).stream(),
        () => {},
      )
      await own(`cat >>${shellWord(part)}`, signal, `send ${to}`, rest)
    }
    const hash = `{ sha256sum 2>/dev/null || shasum -a 256 2>/dev/null || openssl dgst -sha256 -r; }`
    const finish = [
      `read -r sum _ <<EOF\n$(${hash} <${shellWord(part)})\nEOF`,
      `if [ "$sum" = ${file.sha256} ]; then mv ${shellWord(part)} ${shellWord(to)}; exit; fi`,
      `rm -f ${shellWord(part)}; echo "it arrived as SHA-256 $sum" >&2; exit 1`,
    ]
    await own(finish.join('\n'), signal, `send ${to}`)
  }

  return {
    async folderFor(path, signal) {
      return posix.join(await findBase(signal), factoryId, relative(root, path))
    },

    async copy(from, to, signal) {
      const [target, partial, parent] = [to, `${to}.partial`, posix.dirname(to)].map(shellWord)
      // An archive that is cut off between two files looks like a whole one.
      const entries = (await readdir(from, { recursive: true })).length + 1
      const whole = `[ "$(find ${partial} | wc -l)" -eq ${entries} ]`
      const script = [
        'umask 077',
        // It was copied, and the answer was lost.
        `if [ -d ${target} ]; then cat >/dev/null; exit 0; fi`,
        `rm -rf ${partial}`,
        `if mkdir -p ${parent} && mkdir ${partial} && tar -xpf - -C ${partial} && ${whole} && mv ${partial} ${target}; then exit 0; fi`,
        `rm -rf ${partial}`,
        'exit 1',
      ]
      const archive = create({ cwd: from, portable: true }, ['.'])
      await own(script.join('\n'), signal, `copy a submission to ${to}`, Readable.from(archive))
    },

    async deliver(file, signal) {
      const to = posix.join(await findBase(signal), 'runtime', `${file.sha256}.tar.gz`)
      const sending =
        delivering.get(to) ??
        send(file, to, signal)
          .then(() => to)
          .finally(() => delivering.delete(to))
      delivering.set(to, sending)
      return await sending
    },

    tail: (file, bytes, signal) =>
      own(
        `if [ -f ${shellWord(file)} ]; then tail -c ${bytes} ${shellWord(file)}; fi`,
        signal,
        `read ${file}`,
      ),

    async remove(path, signal) {
      await own(`rm -rf ${shellWord(path)}`, signal, `remove ${path}`)
    },
  }
}
