import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import type { Lease, Outcome } from '../../src/protocol/task.ts'
import type { LibrarySpec } from '../../src/protocol/context.ts'
import { addLease, emptyHand, type Hand } from '../../src/pilot/hand.ts'
import { beginLife, type Life, type LifeOptions } from '../../src/pilot/life.ts'
import { until } from '../support/until.ts'
import { withoutBlobs } from './no-blobs.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
export const CONTEXT = 'c'.repeat(64)

type Functions = Extract<LibrarySpec, { library: 'module' }>['functions']

export interface Stage extends AsyncDisposable {
  hand: Hand
  life: Life
  /** Its folder, for what tasks leave behind. */
  folder: string
  ready: Promise<{ level: string; memory: number }>
  evict(): void
}

/** A real library that holds a module with this source, fed from a hand with these leases. */
export async function begin(
  source: string,
  leases: Lease[] = [],
  {
    functions = { run: { export: 'run' } },
    call,
    ...options
  }: Partial<LifeOptions> & { functions?: Functions; call?: string } = {},
): Promise<Stage> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-life-'))
  await writeFile(path.join(folder, 'index.mjs'), source)
  const hand = emptyHand()
  for (const lease of leases) addLease(hand, lease)
  const ready = Promise.withResolvers<{ level: string; memory: number }>()
  const eviction = new AbortController()
  const setup = { bundle: 'code', file: 'index.mjs', args: [], ...(call !== undefined && { call }) }
  const bundles = { code: 'b'.repeat(64) }
  const life = beginLife({
    setup: {
      type: 'setup',
      context: { id: CONTEXT, name: 'test', bundles, spec: { library: 'module', setup, functions } },
      bundles: { code: folder },
      blobs: '/nowhere',
      threads: 1,
      device: 'cpu',
    },
    env: {},
    folder,
    memoryLimit: 2 ** 31,
    log,
    hand,
    ...withoutBlobs,
    window: () => 16,
    setupLimitMs: 30_000,
    evicted: eviction.signal,
    devices: () => Promise.resolve(new Map()),
    isTurn: () => true,
    onUsage: () => {},
    onReady: (level, memory) => ready.resolve({ level, memory }),
    onEnded: () => {},
    ...options,
  })
  return {
    hand,
    life,
    folder,
    ready: ready.promise,
    evict: () => eviction.abort(),
    async [Symbol.asyncDispose]() {
      life.stop()
      await life.over
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export function lease(tasks: unknown[], more: Partial<Lease> & { alone?: boolean } = {}): Lease {
  const { alone, ...rest } = more
  const inputs = tasks as Lease['tasks'][number]['input'][]
  return {
    lease: 1,
    context: CONTEXT,
    function: 'run',
    tasks: inputs.map((input, i) => ({ task: i + 1, input, ...(alone && { alone }) })),
    ...rest,
  }
}

/** A module whose function waits until the file that is its input is there, and leaves a mark for each run. */
export const WAIT_FOR_FILE = `
  import { appendFileSync, existsSync } from 'node:fs'
  export const run = (file) => new Promise((done) => {
    const timer = setInterval(() => {
      if (!existsSync(file)) return
      clearInterval(timer)
      appendFileSync(file + '.runs', 'x')
      done('ran')
    }, 10)
  })`

/** The outcome of each task that has one. */
export function outcomes({ hand }: Stage): Map<number, Outcome> {
  return new Map(hand.results.map(({ result }) => [result.task, result.outcome]))
}

export const logs = ({ hand }: Stage) => new Map(hand.results.map(({ result }) => [result.task, result.log]))

export const ended = (stage: Stage, count: number) => until(() => stage.hand.results.length >= count)
