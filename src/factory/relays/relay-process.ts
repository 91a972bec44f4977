import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import { createInterface } from 'node:readline'
import type { Duplex, Readable } from 'node:stream'
import { z } from 'zod'
import { readFirstLine } from '../../common/tunnel/first-line.ts'
import { serveTunnel } from '../../common/tunnel/tunnel.ts'
import { parseJson } from '../../protocol/primitives.ts'
import { RELAY_LINE_MOST, RelayPlace, type RelaySettings } from '../../protocol/relay.ts'
import type { Connection } from '../transports/ssh/connection.ts'
import { sendable, shellWord } from '../transports/ssh/remote-script.ts'

/** Longest from the command to the relay's answer, milliseconds: it may have to be unpacked first. */
const START_MS = 120_000
/** Greetings of a login shell that are skipped, lines. */
const GREETING_MOST = 1_000
/** Programs that were last used so many days ago are removed from the submit node. */
const PROGRAM_DAYS = 30

/** A relay that runs on a submit node, at the other end of a channel. */
export interface RelayProcess {
  /** Where pilots reach it. */
  place: RelayPlace
  /** Resolves, with the reason, once it has ended or cannot be reached any more. */
  ended: Promise<string>
  close(): void
}

export type RelayProcessOptions = {
  connection: Connection
  /** The runtime on the submit node, which brings Node and the relay's program along: its path and SHA-256. */
  runtime: { path: string; sha256: string }
  /** Folder of the submit node for the unpacked program. */
  folder: string
  settings: RelaySettings
  /** Takes a connection of a pilot's that leads to the manager. */
  onConnection: (connection: Duplex) => void
  /** Hears what the relay says of itself. */
  onSaid: (line: string) => void
  signal: AbortSignal
}

/**
 * Starts a relay over SSH. It lives as long as its channel does.
 * @throws {Error} that says what it said, if it does not start
 */
export async function startRelayProcess(options: RelayProcessOptions): Promise<RelayProcess> {
  const { connection, settings, onConnection, onSaid, signal } = options
  const mark = `gleaner-${randomBytes(8).toString('hex')}`
  const { line, text } = sendable(relayScript(options, mark))
  const channel = await connection.exec(line)
  let said = ''
  const heard = (words: string) => {
    said = words
    onSaid(words)
  }
  createInterface({ input: channel.stderr }).on('line', (words) => heard(readable(words)))
  // How it ended shows in what it says.
  for (const stream of [channel.stdin, channel.stdout, channel.stderr]) stream.on('error', () => {})
  const kill = () => channel.kill()
  const late = AbortSignal.any([signal, AbortSignal.timeout(START_MS)])
  late.addEventListener('abort', kill, { once: true })
  try {
    channel.stdin.write(`${text}${JSON.stringify(settings)}\n`)
    const place = RelayPlace.parse(parseJson(await answer(channel.stdout, mark)))
    const wire = { readable: channel.stdout, writable: channel.stdin }
    const ended = serveTunnel(wire, onConnection).then(() => {
      channel.kill()
      return said || 'it has ended'
    })
    return { place, ended, close: kill }
  } catch (error) {
    channel.kill()
    const reason = signal.aborted ? 'the factory is stopping' : said || (error as Error).message
    throw new Error(reason, { cause: error })
  } finally {
    late.removeEventListener('abort', kill)
  }
}

/** The line after the mark: greetings come before it. */
async function answer(stdout: Readable, mark: string): Promise<string> {
  for (let skipped = 0; skipped < GREETING_MOST; skipped++)
    if ((await readFirstLine(stdout, RELAY_LINE_MOST)) === mark)
      return await readFirstLine(stdout, RELAY_LINE_MOST)
  throw new Error('it said more than was expected')
}

/** Unpacks what the relay needs of the runtime, unless it is there, and becomes the relay. */
function relayScript({ runtime, folder, settings }: RelayProcessOptions, mark: string): string {
  const program = posix.join(folder, runtime.sha256)
  const [from, to, part, parent] = [runtime.path, program, `${program}.${mark}`, folder].map(shellWord)
  return [
    'umask 077',
    `mkdir -p ${parent} || exit`,
    `find ${parent} -mindepth 1 -maxdepth 1 -mtime +${PROGRAM_DAYS} -exec rm -rf {} + 2>/dev/null`,
    `if [ -x ${to}/node ]; then touch ${to}; else`,
    `  mkdir ${part} && gzip -dc ${from} | tar -xf - -C ${part} ./node ./relay.js ./package.json || { rm -rf ${part}; exit 1; }`,
    `  if [ -x ${to}/node ]; then rm -rf ${part}; else rm -rf ${to}; mv ${part} ${to}; fi`,
    'fi',
    `cd ${to} || exit`,
    // What is meant for the user's own programs.
    'unset NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS',
    `printf '\\n%s\\n' ${mark}`,
    `exec ./node relay.js ${shellWord(settings.name)}`,
  ].join('\n')
}

const LogLine = z.object({ msg: z.string() })

/** What a line of the relay's log says, or the line itself. */
function readable(line: string): string {
  const parsed = LogLine.safeParse(parseJson(line))
  return (parsed.success ? parsed.data.msg : line).slice(0, 500)
}
