import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type CommandResult, OUTPUT_MAX, TransportError, NotStartedError } from '../transport.ts'
import { type Channel, type Connection } from './connection.ts'
import type { HostLink } from './host-link.ts'
import { readAnswer, sendable } from './remote-script.ts'

/** Runs scripts on a submit node, whatever its user's shell is and whatever that prints. */
export interface ScriptRunner {
  /** Stands around what a script says; of this process alone, so that nothing says it by chance. */
  readonly mark: string
  /**
   * @param script made by remote-script.ts with the mark
   * @param input what the script reads; without it, its standard input ends when it is given up
   * @throws {NotStartedError} if it was not run; {@link TransportError} if it may have been
   */
  run(script: string, signal: AbortSignal, input?: Readable): Promise<CommandResult>
}

/** @param host how it is named for the user */
export function scriptRunner(link: HostLink, host: string): ScriptRunner {
  const mark = `gleaner-${randomBytes(8).toString('hex')}`
  return {
    mark,
    async run(script, signal, input) {
      const { line, text } = sendable(script)
      let begun = false
      const talk = async (connection: Connection) => {
        const channel = await connection.exec(line)
        begun = true
        const [stdout, stderr] = await converse(channel, text, input, signal)
        const answer = readAnswer(stdout, stderr, mark)
        const broken = answer.is === 'cut' || answer.is === 'silent'
        return { answer, fault: broken ? await connection.fault() : undefined }
      }
      const { answer, fault } = await link.session(talk, signal).catch((error: unknown) => {
        if (error instanceof TransportError || !signal.aborted) throw error
        throw new (begun ? TransportError : NotStartedError)(`${host} took too long`, { cause: error })
      })
      if (fault) throw new TransportError(fault.message, { cause: fault })
      switch (answer.is) {
        case 'ended':
          return { code: answer.code, stdout: answer.stdout, stderr: answer.stderr }
        case 'missing':
          throw new NotStartedError(missing(host, answer.what))
        case 'cut':
          throw new TransportError(`the connection to ${host} has broken before the command had ended`)
        case 'silent':
          throw new TransportError(
            `${host} has not run the command${answer.said && `; it said: ${answer.said}`}`,
          )
      }
    },
  }
}

const missing = (host: string, what: string) =>
  what === 'folder'
    ? `${host}: the folder of the submission is gone`
    : `${host}: there is no such command in PATH (${what}): set PATH in the site's commandEnvironment`

async function converse(
  channel: Channel,
  script: string,
  input: Readable | undefined,
  signal: AbortSignal,
): Promise<[stdout: string, stderr: string]> {
  const fault = Promise.withResolvers<never>()
  fault.promise.catch(() => {})
  const giveUp = () => fault.reject(new TransportError('the command took too long and was ended'))
  if (signal.aborted) giveUp()
  signal.addEventListener('abort', giveUp, { once: true })
  try {
    // A far end that has gone reads no more: how it ended shows in what it said.
    channel.stdin.on('error', () => {})
    channel.stdin.write(script)
    // Without input, its end is left open: it means that the command is given up.
    input?.on('error', fault.reject).pipe(channel.stdin)
    const outputs = [channel.stdout, channel.stderr].map((stream) => text(stream, fault.reject))
    const [stdout = '', stderr = ''] = await Promise.race([Promise.all(outputs), fault.promise])
    return [stdout, stderr]
  } catch (error) {
    channel.kill()
    throw error
  } finally {
    signal.removeEventListener('abort', giveUp)
    channel.stdin.end()
  }
}

/** All that comes, also if it breaks off. */
function text(stream: Readable, onFault: (error: Error) => void): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  return new Promise((resolve) => {
    const end = () => resolve(Buffer.concat(chunks).toString('utf8'))
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > OUTPUT_MAX) onFault(new TransportError('the command says more than fits'))
      else chunks.push(chunk)
    })
    stream.once('end', end).once('close', end).once('error', end)
  })
}
