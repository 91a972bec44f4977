import type { JobErrors, JobInfo } from '../../../src/protocol/client.ts'
import type { FactoryEvent, NewEvent, Pool, SlotTime } from '../../../src/protocol/events.ts'

const START = Date.UTC(2026, 10, 28, 12)
const CONTEXT = 'c'.repeat(64)

export interface History {
  job: JobInfo
  events: FactoryEvent[]
  errors: JobErrors
}

/**
 * What a ledger would tell of a run of ten minutes on two sites: workers join one by one, fetch and load, some are evicted and some
 * vanish, others take their places.
 * @param names of sites' nodes and devices, to try what they may be called
 */
export function makeHistory(
  names: { node?: string; device?: string; job?: string; error?: string } = {},
): History {
  const events: FactoryEvent[] = []
  const note = (seconds: number, event: NewEvent) =>
    events.push({ cursor: events.length + 1, at: START + seconds * 1000, ...event })
  const kinds = [
    { site: 'gpu-cluster', device: names.device ?? 'NVIDIA A10' },
    { site: 'gpu-cluster', device: 'NVIDIA TITAN X (Pascal)' },
    { site: 'department', device: 'cpu' },
  ]
  const spent: SlotTime[] = kinds.map(() => ({ boot: 0, fetch: 0, load: 0, inference: 0, idle: 0, lost: 0 }))
  /** The first kind's driver tells that each of its GPUs draws 200 W. */
  let energyJ = 0
  const alive = new Map<
    number,
    { kind: number; since: number; gone: number; how: 'evicted' | 'lost' | 'stays' }
  >()
  const where = (i: number, kind: number) => ({
    worker: `w${i}`,
    pilot: `p${i}`,
    ...kinds[kind]!,
    node: names.node ?? `node${i % 9}`,
    slots: 1,
  })
  const job = { job: 7, tasks: 150_000 }
  const about = { context: 'fact-verification', contextId: CONTEXT }
  note(0, { type: 'factory-started', version: '0.1.0' })
  note(1, { type: 'job-submitted', job: 7, name: names.job ?? 'claims', ...about, function: 'verify' })
  let done = 0
  for (let second = 5; second <= 600; second += 5) {
    const i = second / 5
    if (i <= 60 && i % 2 === 0) {
      const kind = i % 3
      const how = i % 8 === 0 ? 'evicted' : i % 14 === 0 ? 'lost' : 'stays'
      alive.set(i, { kind, since: second, gone: second + 90 + ((i * 37) % 150), how })
      note(second, {
        type: 'worker-registered',
        ...where(i, kind),
        queuedMs: 4_000,
        bootMs: 2_500,
        restarts: 0,
      })
      spent[kind]!.boot += 2_500
      note(second + 1, {
        type: 'context-level',
        ...where(i, kind),
        ...about,
        from: 'absent',
        level: 'disk',
        fetchMs: 9_000,
        loadMs: 0,
      })
      note(second + 2, {
        type: 'context-level',
        ...where(i, kind),
        ...about,
        from: 'disk',
        level: 'device',
        fetchMs: 0,
        loadMs: 14_000,
      })
    }
    for (const [number, { kind, gone, how }] of alive) {
      if (how === 'stays' || second < gone) continue
      alive.delete(number)
      const loss = { requeued: 120, lostMs: 6_000 }
      spent[kind]!.lost += 6_000
      if (how === 'evicted')
        note(second, { type: 'worker-evicted', ...where(number, kind), ...loss, reason: 'eviction' })
      else note(second, { type: 'worker-lost', ...where(number, kind), ...loss })
      note(second, { type: 'attempts-lost', job: 7, ...where(number, kind), tasks: 120 })
    }
    const pools = kinds.map((pool, kind): Pool => {
      const mine = [...alive.values()].filter((worker) => worker.kind === kind)
      const fetching = mine.filter(({ since }) => second - since < 10).length
      const loading = mine.filter(({ since }) => second - since >= 10 && second - since < 25).length
      const working = mine.length - fetching - loading
      spent[kind]!.fetch += fetching * 5_000
      spent[kind]!.load += loading * 5_000
      spent[kind]!.inference += working * 4_700
      spent[kind]!.idle += working * 300
      done = Math.min(150_000, done + working * [210, 90, 25][kind]!)
      const spentMs = { ...spent[kind]! }
      if (kind === 0) energyJ += mine.length * 200 * 5
      return {
        ...pool,
        workers: mine.length,
        slots: mine.length,
        fetching,
        loading,
        working,
        idle: 0,
        spentMs,
        ...(kind === 0 && { energyJ }),
      }
    })
    note(second, { type: 'job-progress', ...job, done, failed: 12 })
    note(second, {
      type: 'sample',
      tasks: { queued: 150_000 - done, leased: 0, done, failed: 12 },
      sites: [],
      pools,
    })
  }
  note(600, { type: 'job-ended', ...job, name: names.job ?? 'claims', state: 'finished', done, failed: 12 })
  return {
    job: {
      id: 7,
      name: names.job ?? 'claims',
      context: 'fact-verification',
      contextId: CONTEXT,
      function: 'verify',
      state: 'finished',
      closed: true,
      tasks: 150_000,
      done,
      failed: 12,
      retried: 0,
      createdAt: START,
    },
    events,
    errors: {
      failed: 12,
      kinds: 1,
      errors: [
        {
          tasks: 12,
          error: { name: 'RangeError', message: names.error ?? 'the prompt is longer than the model takes' },
          example: { key: '4711', worker: 'w2', node: names.node ?? 'node2' },
        },
      ],
    },
  }
}
