import { readFile, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { EnvHttpProxyAgent, request } from 'undici'
import { trustOnlyCertificate } from '../../../common/tls-pinning.ts'
import { PROBE_LINE, ProbeAnswer, type ProbeMessage, type Trial } from '../../../protocol/probe.ts'
import { lookAtNode } from './look-at-node.ts'
import { runTrial } from './library-trials.ts'

/*
 * What pilot.sh boots in place of a worker when a doctor asks: it says what its node is like, tries to reach the manager and the other
 * probes, and stays until it is told to leave, and then as long as it is let, which shows what warning pilots get.
 */

/** How often it says that it is there, milliseconds. */
const BEAT_MS = 500
/** Longest it stays, milliseconds, whatever comes. */
const LIMIT_MS = 900_000
/** How long it stays where it cannot reach the doctor, who has its words at its end only. */
const ALONE_MS = 3_000
const TRY_MS = 5_000

const pilot = (process.env['GLEANER_TOKEN_FILE'] ?? '').replace(/^.*\/|\.token$/g, '')
/** When it was told to leave. */
let toldAt: number | undefined
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.on(signal, () => (toldAt ??= performance.now()))

type Send = (message: ProbeMessage) => Promise<ProbeAnswer | undefined>

async function openServer(): Promise<Send> {
  const { GLEANER_MANAGER = '', GLEANER_TOKEN_FILE = '', GLEANER_CA_FILE } = process.env
  const token = (await readFile(GLEANER_TOKEN_FILE, 'utf8')).trim()
  const pinned = GLEANER_CA_FILE && trustOnlyCertificate(await readFile(GLEANER_CA_FILE, 'utf8'))
  const dispatcher = new EnvHttpProxyAgent(pinned ? { connect: pinned, requestTls: pinned } : {})
  return async (message) => {
    const { statusCode, body } = await request(`${GLEANER_MANAGER}/v1/probe`, {
      ...{ method: 'POST', dispatcher, body: JSON.stringify(message) },
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...{ headersTimeout: TRY_MS, bodyTimeout: TRY_MS },
    })
    const text = await body.text()
    return statusCode === 200 ? ProbeAnswer.parse(JSON.parse(text)) : undefined
  }
}

/** Any answer will do: it is there. */
async function tryManager(name: string): Promise<Trial> {
  const dispatcher = new EnvHttpProxyAgent({
    connect: { rejectUnauthorized: false, timeout: TRY_MS },
    requestTls: { rejectUnauthorized: false },
  })
  try {
    const { body } = await request(name, { dispatcher, headersTimeout: TRY_MS })
    await body.dump()
    return { name, ok: true }
  } catch (error) {
    return { name, ok: false, said: sayError(error) }
  }
}

function tryPeer(name: string): Promise<Trial> {
  const [host, port] = [name.slice(0, name.lastIndexOf(':')), Number(name.slice(name.lastIndexOf(':') + 1))]
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: TRY_MS })
    const end = (trial: Trial) => {
      socket.destroy()
      resolve(trial)
    }
    socket.once('data', () => end({ name, ok: true }))
    socket.once('timeout', () => end({ name, ok: false, said: 'no answer' }))
    socket.once('error', (error) => end({ name, ok: false, said: sayError(error) }))
  })
}

const sayError = (error: unknown) => {
  const { message, code } = error as Error & { code?: string }
  return (message || code || 'no answer').slice(0, 500)
}

async function probe(): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.end('gleaner')
  })
  await new Promise<void>((resolve) => server.listen({ port: 0 }, resolve))
  const { port } = server.address() as { port: number }
  const send = await openServer()
  const report: ProbeMessage = { kind: 'report', pilot, port, ...(await lookAtNode()) }
  console.log(PROBE_LINE + JSON.stringify(report))
  let answer = await send(report).catch((error: unknown) => {
    console.log(
      `gleaner: the doctor cannot be reached at ${process.env['GLEANER_MANAGER']}: ${sayError(error)}`,
    )
    return undefined
  })
  const limit = performance.now() + (answer ? LIMIT_MS : ALONE_MS)
  const tried = new Set<string>()
  let roundTripMs: number | undefined
  while (performance.now() < limit) {
    for (const message of await tryAll(answer, tried)) await send(message).catch(() => {})
    await sleep(BEAT_MS)
    const sentAt = performance.now()
    const sinceToldMs = toldAt === undefined ? undefined : sentAt - toldAt
    const beat = { kind: 'alive', pilot, clock: Date.now(), roundTripMs, sinceToldMs } as const
    if (toldAt !== undefined) console.log(PROBE_LINE + JSON.stringify(beat))
    answer = await send(beat).catch(() => undefined)
    if (answer) roundTripMs = performance.now() - sentAt
  }
}

/** Tries what the doctor wants to know of and was not tried yet. */
async function tryAll(answer: ProbeAnswer | undefined, tried: Set<string>): Promise<ProbeMessage[]> {
  const wanted = [
    ...(answer?.manager === undefined ? [] : [{ of: 'manager' as const, name: answer.manager }]),
    ...(answer?.peers ?? []).map((name) => ({ of: 'peer' as const, name })),
  ].filter(({ name }) => !tried.has(name))
  for (const { name } of wanted) tried.add(name)
  return await Promise.all(
    wanted.map(async ({ of, name }): Promise<ProbeMessage> => {
      const trial = of === 'manager' ? await tryManager(name) : await tryPeer(name)
      return { kind: 'reached', pilot, of, trial }
    }),
  )
}

const [, , what, name] = process.argv
if (what !== undefined) process.exit(await runTrial(what, name ?? ''))
try {
  await probe()
} finally {
  const scratch = process.env['GLEANER_SCRATCH']
  if (scratch) await rm(scratch, { recursive: true, force: true }).catch(() => {})
}
process.exit(0)
