import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import { connect, type Status } from '../../src/client/index.ts'
import { factory, start, type Ended, type Running } from '../cli/cli.ts'

/** A context whose functions are small enough to be looked through; `work` takes a few milliseconds a task. */
const CONTEXT = `
name: words
bundles: { code: code }
library: module
setup: { bundle: code, file: words.js, call: prepare }
functions:
  work: { export: work }
  shout: { export: shout }
`
const CODE = `
import { appendFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
export const prepare = () => ({ library: process.pid })
export async function work(input, { library }) {
  await delay(input.ms ?? 3)
  if (input.log) appendFileSync(input.log, input.id + '\\n')
  return { label: input.word.toUpperCase(), library }
}
export function shout(input) {
  if (!input.word) throw new TypeError('there is no word to shout')
  return input.word.toUpperCase() + '!'
}
`

/**
 * What all plants have in common: the store, so that the runtime is packed once, and the pilots' cache, so that it is
 * unpacked once. Whoever runs several files says where; a file that runs alone makes its own.
 */
const given = process.env.GLEANER_TEST_SHARED
const shared = given ?? (await mkdtemp(join(tmpdir(), 'gleaner-shared-')))
await mkdir(join(shared, 'store'), { recursive: true })
if (given === undefined) after(() => rm(shared, { recursive: true, force: true, maxRetries: 5 }))

/** A folder with everything of one factory, and the commands to run on it. */
export interface Plant extends AsyncDisposable {
  folder: string
  state: string
  /** Runs a command to its end. */
  factory: (...args: string[]) => Promise<Ended>
  /** Starts a command. */
  begin: (...args: string[]) => Running
  /** Starts the factory and waits until it is ready. It is stopped with the plant, if it still runs. */
  start: (...args: string[]) => Promise<Running>
  status: () => Promise<Status>
  /** Process, and process group, of each pilot that has one, by the pilot's name. */
  pilots: () => Promise<Map<string, number>>
}

/** Makes a state folder, in a folder of its own or on another disk, with a local site and the context `words`. */
export async function plant(
  config = 'sites: { here: { kind: local, count: 2 } }',
  disk?: string,
): Promise<Plant> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-end-to-end-'))
  const state = join(disk ?? folder, 'state')
  const temporary = join(folder, 'tmp')
  for (const name of [state, temporary, join(folder, 'config', 'gleaner'), join(folder, 'words', 'code')]) {
    await mkdir(name, { recursive: true })
  }
  await writeFile(join(folder, 'words', 'context.yaml'), CONTEXT)
  await writeFile(join(folder, 'words', 'code', 'words.js'), CODE)
  await writeFile(join(folder, 'words', 'code', 'package.json'), '{"type":"module"}')
  await writeFile(join(state, 'factory.yaml'), `contexts: [${join(folder, 'words')}]\n${config}\n`)
  await symlink(join(shared, 'store'), join(state, 'store'))
  // A layer below the state folder's own, so that it holds whatever a test writes there.
  const below = `sites: { here: { cacheFolder: ${join(shared, 'cache')} } }\n`
  await writeFile(join(folder, 'config', 'gleaner', 'factory.yaml'), below)

  const settings = join(folder, 'config')
  const env = { GLEANER_CONFIG_DIRS: settings, XDG_CONFIG_HOME: settings, TMPDIR: temporary }
  const begin = (...args: string[]) => start(args, { state, env, cwd: folder })
  const started: Running[] = []
  return {
    folder,
    state,
    begin,
    factory: (...args) => factory(args, { state, env, cwd: folder }),
    async start(...args) {
      const running = begin('start', ...args)
      started.push(running)
      const ready = once(createInterface({ input: running.child.stdout! }), 'line')
      const failed = running.ended.then(({ stderr }) => Promise.reject(new Error(`factory start: ${stderr}`)))
      await Promise.race([ready, failed])
      failed.catch(() => {})
      return running
    },
    async status() {
      await using client = connect({ state, patienceMs: 0 })
      return await client.status()
    },
    pilots: () => readPilots(state),
    async [Symbol.asyncDispose]() {
      for (const { child, ended } of started) {
        child.kill('SIGTERM')
        await ended
      }
      for (const pid of (await readPilots(state)).values()) kill(-pid)
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

async function readPilots(state: string): Promise<Map<string, number>> {
  const pilots = new Map<string, number>()
  const site = join(state, 'submissions', 'here')
  for (const submission of await readdir(site).catch(() => [])) {
    const jobs = join(site, submission, 'jobs')
    for (const pilot of await readdir(jobs).catch(() => [])) {
      const pid = Number((await readFile(join(jobs, pilot), 'utf8').catch(() => '')).split(' ')[1])
      if (pid > 1) pilots.set(pilot, pid)
    }
  }
  return pilots
}

/** Kills a process, or a group; false if it was gone. */
export function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch {
    return false
  }
}

/** Writes a context's files, by their paths in its folder, and has a site with one pilot work for it alone. */
export async function plantContext(
  { folder, state }: Plant,
  name: string,
  files: Record<string, string>,
): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(join(folder, name, file, '..'), { recursive: true })
    await writeFile(join(folder, name, file), text)
  }
  const config = `contexts: [${join(folder, name)}]\nsites: { here: { kind: local, count: 1 } }\n`
  await writeFile(join(state, 'factory.yaml'), config)
}

/** Writes a file of tasks for the context `words`. */
export async function writeTasks(file: string, count: number, fields: object = {}): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) =>
    JSON.stringify({ id: `t${i}`, word: `word ${i}`, ...fields }),
  )
  await writeFile(file, `${lines.join('\n')}\n`)
}

/** The ids in a file of results, in order. The last line may be torn. */
export async function readIds(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '')
  const lines = text.split('\n').slice(0, -1)
  return lines.map((line) => (JSON.parse(line) as { id: string }).id)
}
