import { readdir } from 'node:fs/promises'
import { posix, relative } from 'node:path'
import { Readable } from 'node:stream'
import { create } from 'tar'
import { shellPath } from '../../submissions/submit-template.ts'
import { type JobFiles, TransportError } from '../transport.ts'
import { fileUpload, type FileUploadOptions } from './file-upload.ts'
import type { HostLink } from './host-link.ts'
import { ownScripts } from './own-scripts.ts'
import { ownScript, shellWord } from './remote-script.ts'
import type { ScriptRunner } from './script-runner.ts'

export type SshFilesOptions = FileUploadOptions & {
  runner: ScriptRunner
  /** How the host is named for the user. */
  host: string
  /** The folder here whose parts have their places below the folder there. */
  root: string
  /** The folder there, as the user writes it: absolute, or below `~` or a variable. */
  folder: string
}

/** What is being delivered over each connection, by its place: sites of one submit node wait for the same. */
const deliveries = new WeakMap<HostLink, Map<string, Promise<string>>>()

/** Files of jobs on a submit node: a submission's folder goes there in one stream, a large file by SFTP. */
export function sshFiles(options: SshFilesOptions): JobFiles {
  const { link, runner, host, root, folder, factoryId } = options
  const own = ownScripts(runner, host)
  const send = fileUpload(options, own)
  let base: string | undefined
  const delivering = deliveries.get(link) ?? new Map<string, Promise<string>>()
  deliveries.set(link, delivering)

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
