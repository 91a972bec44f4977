import { mkdir, readFile } from 'node:fs/promises'
import { posix } from 'node:path'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { z } from 'zod'
import { type Crossed, dialAddress, forward } from '../../common/tunnel/forward.ts'
import type { Throttle } from '../../common/tunnel/throttle.ts'
import { writeJson } from '../../common/write-json.ts'
import { parseJson } from '../../protocol/primitives.ts'
import type { RelayPlace } from '../../protocol/relay.ts'
import { reconnectDelay } from '../policy/reconnect-delay.ts'
import type { HostLink } from '../transports/ssh/host-link.ts'
import type { JobFiles } from '../transports/transport.ts'
import { startRelayProcess } from './relay-process.ts'

/** One that has run for so long was well, milliseconds. */
const WELL_MS = 60_000

export type SiteRelayOptions = {
  link: HostLink
  files: JobFiles
  /** How the submit node is named for the user. */
  host: string
  /** Tells it from other relays on the same host. */
  name: string
  runtime: { path: string; sha256: string }
  /** Where the manager listens, and its certificate, PEM. */
  manager: { host: string; port: number }
  certificate: string
  address?: string | undefined
  /** Default: the one of last time, or a free one. */
  port?: number | undefined
  cacheBytes: number
  throttle: Throttle
  /** Remembers the port from one start of the factory to the next: pilots that run know it. */
  file: string
  log: Logger
}

/** The relay that a factory keeps on a submit node, for as long as it is not closed. */
export interface SiteRelay {
  /** Where pilots reach it, and where the runtime lies on the submit node; waits for its start. @throws {RelayDown} if it cannot run now */
  ready(signal: AbortSignal): Promise<RelayPlace & { runtime: string }>
  /** Why it does not run, for the user; undefined while it does, or is about to. */
  readonly trouble: string | undefined
  /** Bytes that it has carried. */
  readonly crossed: Readonly<Crossed>
  close(): void
}

/** There is no relay now; the message is its `trouble`. */
export class RelayDown extends Error {
  override readonly name = 'RelayDown'
}

type Up = RelayPlace & { runtime: string }

/** Starts a relay, and another one whenever it ends or the connection breaks: at the same port, so that pilots find it again. */
export function keepRelay(options: SiteRelayOptions): SiteRelay {
  const { host, manager, throttle, log } = options
  const port = portOf(options)
  const closing = new AbortController()
  const crossed: Crossed = { fromManager: 0, toManager: 0 }
  let trouble: string | undefined
  /** Since when the relay that runs has done so. */
  let upSince: number | undefined
  let state = Promise.withResolvers<Up>()
  state.promise.catch(() => {})

  async function runOnce(): Promise<string> {
    const { link, files, name, runtime, address, certificate, cacheBytes } = options
    const { signal } = closing
    const connection = await link.connection()
    const path = await files.deliver(runtime, signal)
    const folder = posix.join(posix.dirname(posix.dirname(path)), 'relay')
    const process = await startRelayProcess({
      connection,
      runtime: { path, sha256: runtime.sha256 },
      folder: posix.join(folder, 'programs'),
      settings: {
        name,
        ...(address !== undefined && { address }),
        port: await port.wanted(),
        cache: posix.join(folder, 'cache'),
        cacheBytes,
        certificate,
        runtimes: posix.dirname(path),
      },
      onConnection: (pilot) => void forward(pilot, dialAddress(manager), throttle, crossed),
      onSaid: (line) => log.warn({ relay: host }, line),
      signal,
    })
    const end = () => process.close()
    signal.addEventListener('abort', end, { once: true })
    try {
      signal.throwIfAborted()
      const { place } = process
      await port.given(place.port)
      log.info({ relay: host, ...place }, 'relay started')
      trouble = undefined
      upSince = performance.now()
      state.resolve({ ...place, runtime: path })
      return await Promise.race([process.ended, connection.lost.then(({ message }) => message)])
    } finally {
      signal.removeEventListener('abort', end)
      process.close()
    }
  }

  async function run(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; failures++) {
      upSince = undefined
      const reason = await runOnce().catch(({ message }: Error) => message)
      if (closing.signal.aborted) return
      if (isWell(upSince)) failures = 0
      const before = state
      state = Promise.withResolvers()
      state.promise.catch(() => {})
      const problem = `the relay at ${host} does not run: ${reason}`
      if (problem !== trouble) log.warn(problem)
      trouble = problem
      before.reject(new RelayDown(problem))
      await sleep(reconnectDelay(failures, false, Math.random()), undefined, {
        signal: closing.signal,
      }).catch(() => {})
    }
  }
  void run()

  return {
    ready: (signal) => orAborted(state.promise, signal),
    get trouble() {
      return trouble
    },
    crossed,
    close() {
      closing.abort(new Error('the relay is not needed any more'))
      state.reject(new RelayDown(`the relay at ${host} was ended`))
    },
  }
}

/** @throws what the promise or the signal is rejected with first */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const given = Promise.withResolvers<never>()
  const giveUp = () => given.reject(signal.reason as Error)
  if (signal.aborted) giveUp()
  signal.addEventListener('abort', giveUp, { once: true })
  try {
    return await Promise.race([promise, given.promise])
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}

const isWell = (since: number | undefined) => since !== undefined && performance.now() - since > WELL_MS

const Kept = z.object({ port: z.int().min(0).max(65_535) })

/** The port of a relay, which pilots that run know. */
function portOf({ port, file, host, log }: SiteRelayOptions) {
  let last: number | undefined
  return {
    /** The one it is to have; 0 for any. */
    wanted: async () => port ?? last ?? (await readPort(file)),
    /** It has this one: it is to have it again, also after the next start of the factory if the disk lets us. */
    async given(now: number): Promise<void> {
      last = now
      await writePort(file, now).catch((error: unknown) =>
        log.warn({ relay: host, err: error }, 'the port of the relay could not be written down'),
      )
    },
  }
}

async function readPort(file: string): Promise<number> {
  const kept = Kept.safeParse(parseJson(await readFile(file, 'utf8').catch(() => '')))
  return kept.success ? kept.data.port : 0
}

async function writePort(file: string, port: number): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeJson(file, { port })
}
