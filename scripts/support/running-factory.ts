import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type Client, connect } from '../../src/client/index.ts'
import type { Memory } from './memory.ts'

const BIN = fileURLToPath(new URL('../../bin/factory.js', import.meta.url))
const PROBE = new URL('memory-probe.ts', import.meta.url).href
const START_MS = 600_000

/** A real factory, in a process and a temporary folder of its own, for a measurement. */
export interface RunningFactory extends AsyncDisposable {
  client: Client
  /** What the factory's process has in memory after its garbage has been collected. */
  memory: () => Promise<Memory>
  /** Time of the processor that the factory's process has taken, milliseconds. */
  processorMs: () => Promise<number>
  state: string
  /** The cache folder of its pilots' nodes, which are all this machine. */
  cache: string
}

/**
 * Starts a factory with the given factory.yaml and contexts (files by path, relative to a folder of their own).
 * Disposing of it stops it and removes everything; but not a folder that was given, where the next one goes on.
 */
export async function runFactory(
  config: { sites: Record<string, object>; manager?: object },
  contexts: Record<string, Record<string, string | Uint8Array>>,
  given?: string,
): Promise<RunningFactory> {
  const folder = given ?? (await mkdtemp(join(tmpdir(), 'gleaner-bench-')))
  const state = join(folder, 'state')
  const paths: string[] = []
  for (const [name, files] of Object.entries(contexts)) {
    for (const [file, text] of Object.entries(files)) {
      const path = join(folder, name, file)
      await mkdir(join(path, '..'), { recursive: true })
      await writeFile(path, text)
    }
    paths.push(join(folder, name))
  }
  await mkdir(state, { recursive: true, mode: 0o700 })
  const cacheFolder = join(folder, 'cache')
  const sites = Object.fromEntries(
    Object.entries(config.sites).map(([name, site]) => [name, { cacheFolder, ...site }]),
  )
  // JSON is YAML.
  await writeFile(join(state, 'factory.yaml'), JSON.stringify({ ...config, sites, contexts: paths }))
  const child = spawn(process.execPath, ['--import', PROBE, BIN, 'start', '--state', state], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  })
  const exit = once(child, 'exit')
  const lines = createInterface({ input: child.stdout! })
  const unlessEnded = <T>(what: Promise<T>) =>
    Promise.race([what, exit.then(() => Promise.reject<T>(new Error('the factory has ended')))])
  await unlessEnded(once(lines, 'line', { signal: AbortSignal.timeout(START_MS) }))
  child.stdout!.resume()
  const measured = createInterface({ input: child.stdio[3] as Readable })
  const client = connect({ state })
  return {
    client,
    async memory() {
      const said = once(measured, 'line')
      child.kill('SIGUSR2')
      const [line] = (await unlessEnded(said)) as [string]
      return JSON.parse(line) as Memory
    },
    async processorMs() {
      const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8')
      // Behind the name, which may hold spaces: the times in user and in system mode, in hundredths of a second.
      const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14).map(Number) as [
        number,
        number,
      ]
      return (user + system) * 10
    },
    state,
    cache: cacheFolder,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      child.kill('SIGTERM')
      await exit
      if (given === undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}
