/**
 * The main job on this machine, from an empty folder to verified results: npm run demo
 *
 * Starts a real factory with a local site, verifies 10,000 claims in a context that stays loaded, kills one pilot on the
 * way, and checks that nothing was lost and nothing counted twice.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { toFailure } from '../src/cli/exit/failure.ts'
import { count, duration, rate } from '../src/cli/views/format.ts'
import { onInterrupt } from '../src/cli/exit/interrupt.ts'
import { showProgress } from '../src/cli/views/progress/progress.ts'
import { connect, runFile, type Client, type RunProgress, type Status } from '../src/client/index.ts'
import { generateClaims } from './generate-claims.ts'

const CLAIMS = 10_000
/** Share of the results after which a pilot is killed. */
const KILL_AT = 0.3
/** Packing what pilots boot from takes a busy machine minutes. */
const START_MS = 600_000

const BIN = fileURLToPath(new URL('../bin/factory.js', import.meta.url))

interface Place {
  folder: string
  state: string
  claims: string
  results: string
  env: NodeJS.ProcessEnv
}

async function demo(signal: AbortSignal): Promise<void> {
  const place = await prepare()
  console.log(`${count(CLAIMS)} claims with evidence, about things the model never met: ${place.claims}`)
  console.log('$ factory init')
  await promisify(execFile)(process.execPath, [BIN, 'init'], { env: place.env })

  console.log('$ factory start')
  await using factory = await startFactory(place.env, signal)
  await using client = connect({ state: place.state })
  const { seconds, accuracy } = await runClaims(client, place, signal)
  await checkResults(place)

  const status = await client.status({ signal })
  console.log(
    `all ${count(CLAIMS)} results are there, each once; the kill gave ${count(status.requeued)} tasks back`,
  )
  console.log(whereTimeWent(status))
  console.log('$ factory stop')
  await factory.stop()
  await checkNothingRuns(place.folder)

  console.log(`accuracy ${accuracy.toFixed(3)}`)
  console.log(`throughput ${Math.round(CLAIMS / seconds)} inferences/s`)
  console.log(`results ${place.results}`)
}

/** A folder of its own, with the claims, and with a configuration that keeps what pilots write in it too. */
async function prepare(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-demo-'))
  const state = join(folder, 'state')
  const place = { state, claims: join(folder, 'claims.jsonl'), results: join(folder, 'results.jsonl') }
  const lines = [...generateClaims({ split: 'held-out', count: CLAIMS })].map((claim) =>
    JSON.stringify(claim),
  )
  await writeFile(place.claims, `${lines.join('\n')}\n`)
  const config = join(folder, 'config')
  await mkdir(join(config, 'gleaner'), { recursive: true })
  const cacheFolder = JSON.stringify(join(folder, 'cache'))
  await writeFile(
    join(config, 'gleaner', 'factory.yaml'),
    `sites: { here: { cacheFolder: ${cacheFolder} } }\n`,
  )
  const temporary = join(folder, 'tmp')
  await mkdir(temporary)
  // Nor may what the centre has configured for all users make it submit pilots to a cluster.
  const own = { GLEANER_STATE: state, GLEANER_CONFIG_DIRS: config, XDG_CONFIG_HOME: config }
  const env = { ...process.env, ...own, TMPDIR: temporary }
  return { ...place, folder, env }
}

/** Starts the factory in a process group of its own, so that Ctrl-C reaches this script alone, which then stops it. */
async function startFactory(env: NodeJS.ProcessEnv, signal: AbortSignal) {
  const child = spawn(process.execPath, [BIN, 'start'], {
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit') as Promise<[number | null]>
  const stop = async () => {
    if (isRunning(child)) child.kill('SIGTERM')
    const [code] = await exit
    if (code !== 0) throw new Error(`factory start exited with code ${code}`)
  }
  const lines = createInterface({ input: child.stdout })
  const limit = AbortSignal.any([signal, AbortSignal.timeout(START_MS)])
  try {
    // It prints a line when it is ready.
    const [line] = (await Promise.race([
      once(lines, 'line', { signal: limit }),
      exit.then(() => Promise.reject(new Error('factory start ended at once'))),
    ])) as [string]
    console.log(line)
  } catch (error) {
    if (isRunning(child)) await stop()
    throw error
  }
  child.stdout.resume()
  return { stop, [Symbol.asyncDispose]: async () => void (isRunning(child) && (await stop())) }
}

const isRunning = (child: ChildProcess) => child.exitCode === null && child.signalCode === null

/** Runs the claims, as `factory run` does, and kills a pilot on the way. */
async function runClaims(client: Client, { state, claims, results }: Place, signal: AbortSignal) {
  console.log('$ factory run claims.jsonl --context fact-verification --out results.jsonl --expect label')
  using display = showProgress(process.stderr, () => client.status())
  const startedAt = performance.now()
  let killing: Promise<void> | undefined
  const summary = await runFile(client, {
    input: claims,
    output: results,
    context: 'fact-verification',
    expect: 'label',
    signal,
    onProgress(progress: RunProgress) {
      display.update(progress)
      if (progress.done < KILL_AT * CLAIMS) return
      killing ??= killOnePilot(client, state).then((text) => display.print(text))
      // It is looked at when the run is over.
      killing.catch(() => {})
    },
  })
  const seconds = (performance.now() - startedAt) / 1000
  await killing
  display[Symbol.dispose]()
  const { done, failed, accuracy = 0 } = summary
  if (done !== CLAIMS) throw new Error(`${done} claims have results, ${failed} failed`)
  console.log(`${count(done)} inferences in ${seconds.toFixed(1)} s`)
  return { seconds, accuracy }
}

/** Does to one pilot, with all its processes, what a node does that loses power. */
async function killOnePilot(client: Client, state: string): Promise<string> {
  const { workers } = await client.status()
  const victim = workers.find(({ state, leased }) => state === 'active' && leased > 0)
  if (!victim) throw new Error('no worker had tasks in hand, so none was killed')
  const pid = await pilotProcess(state, victim.pilot)
  process.kill(-pid, 'SIGKILL')
  return `now pilot ${victim.pilot} was killed on purpose, with SIGKILL, while it had ${victim.leased} claims in hand`
}

/** The process, and process group, that a local site noted for a pilot. */
async function pilotProcess(state: string, pilot: string): Promise<number> {
  const site = join(state, 'submissions', 'here')
  for (const submission of await readdir(site)) {
    const note = await readFile(join(site, submission, 'jobs', pilot), 'utf8').catch(() => undefined)
    const pid = Number(note?.split(' ')[1])
    if (pid > 1) return pid
  }
  throw new Error(`pilot ${pilot} has no process`)
}

async function checkResults({ results }: Place): Promise<void> {
  const expected = new Set([...generateClaims({ split: 'held-out', count: CLAIMS })].map(({ id }) => id))
  let lines = 0
  for await (const line of createInterface({ input: createReadStream(results) })) {
    lines++
    expected.delete((JSON.parse(line) as { id: string }).id)
  }
  if (expected.size > 0) throw new Error(`${expected.size} claims have no result`)
  if (lines !== CLAIMS) throw new Error(`${lines - CLAIMS} results are there twice`)
}

function whereTimeWent({ contexts }: Status): string {
  const lines = contexts.map(({ context, fetchMs, loadMs, loads, inferenceMs, inferences }) => {
    const without = inferences * ((fetchMs + loadMs) / Math.max(1, loads))
    return (
      `context ${context}: ${duration(fetchMs)} to fetch and ${duration(loadMs)} to load it ${loads} times, ` +
      `${duration(inferenceMs)} of inference; loading it for each of ${count(inferences)} tasks ` +
      `would have taken ${duration(without)}, at ${rate((fetchMs + loadMs) / Math.max(1, loads))} ms each`
    )
  })
  return lines.join('\n')
}

/** All that the factory started works somewhere in the demo's folder. */
async function checkNothingRuns(folder: string): Promise<void> {
  const giveUpAt = performance.now() + 5_000
  for (;;) {
    const left = await processesIn(folder)
    if (left.length === 0) return
    if (performance.now() > giveUpAt) throw new Error(`processes are left behind: ${left.join(', ')}`)
    await delay(50)
  }
}

async function processesIn(folder: string): Promise<string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const folders = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')))
  return pids.filter((_, i) => folders[i]?.startsWith(folder))
}

using interrupted = onInterrupt()
try {
  await demo(interrupted)
} catch (error) {
  const { message, exitCode } = toFailure(error)
  console.error(`demo: ${message}`)
  process.exitCode = exitCode || 1
}
