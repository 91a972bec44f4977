import type { SiteStatus, Status } from '../../../src/protocol/status.ts'
import type { Pool } from '../../../src/protocol/events.ts'

type WorkerStatus = Status['workers'][number]

/** A made-up factory that changes from second to second as a busy one does. */
export interface World {
  status: () => Status
  pools: () => Pool[]
}

export interface Size {
  workers: number
  slots: number
  tasks: number
}

const CONTEXTS = ['fact-verification', 'summaries', 'embeddings']
const SITES: Pick<SiteStatus, 'name' | 'kind' | 'policy'>[] = [
  { name: 'campus', kind: 'htcondor', policy: 'opportunistic' },
  { name: 'hpc-gpu', kind: 'slurm', policy: 'demand' },
  { name: 'hpc-spare', kind: 'slurm', policy: 'opportunistic' },
  { name: 'lab', kind: 'local', policy: 'fixed' },
]
/** Tasks that one slot ends per second. */
const SLOT_RATE = 6

/** The same for the same seed and calls: what changes goes by the time since it began. */
export function makeWorld({ workers, slots, tasks }: Size, now: () => number): World {
  const random = generator(7)
  const startedAt = now()
  const total = workers * slots * SLOT_RATE
  const pool = Array.from({ length: workers }, (_, i) => makeWorker(i, slots, random))
  return {
    pools() {
      const hours = (now() - startedAt) / 3.6e6 + 1
      const spent = (part: number) => hours * workers * slots * part * 3.6e6
      return ['NVIDIA A100-SXM4-40GB', 'NVIDIA L40S'].map((device, i) => ({
        ...{ site: SITES[i]!.name, device, workers: workers / 2, slots: (workers * slots) / 2 },
        ...{ fetching: 0, loading: 0, working: (workers * slots) / 2, idle: 0 },
        spentMs: {
          ...{ boot: spent(0.01), fetch: spent(0.02), load: spent(0.03), inference: spent(0.37) },
          ...{ idle: spent(0.05), lost: spent(0.02) },
        },
      }))
    },
    status() {
      const seconds = (now() - startedAt) / 1000
      const done = Math.min(tasks, Math.floor(tasks * 0.3 + total * seconds))
      for (const worker of pool) {
        worker.rate = slots * SLOT_RATE * (0.8 + 0.4 * random())
        worker.leased = Math.floor(slots * SLOT_RATE * 5 * random())
        worker.oldestMs = Math.floor(3000 * random())
      }
      return {
        version: '0.1.0',
        startedAt: startedAt - 3_700_000,
        now: Math.round(now()),
        tasks: { queued: tasks - done, leased: workers * slots * 3, done: done - 412, failed: 412 },
        rate: total * (0.95 + 0.1 * random()),
        ...{ duplicates: 31, evictions: 212, lost: 17, requeued: 4021 },
        ...jobsAt(done, tasks, startedAt),
        workers: pool,
        sites: sitesOf(workers, now()),
        contexts: CONTEXTS.map((context, i) => ({
          id: String(i).repeat(64),
          context,
          ...{ fetchMs: 812_000, loadMs: 403_000, loads: workers },
          ...{ inferenceMs: done * 140, inferences: done },
        })),
        transfers: pool.slice(0, Math.min(40, workers)).map(({ id }, i) => ({
          worker: id,
          bundle: String(i % 3).repeat(64),
          heldBytes: Math.floor(seconds * 9e6) % 3.4e9,
          totalBytes: 3.4e9,
          from: Array.from({ length: 6 }, (_, k) => ({
            source: k === 0 ? 'manager' : `w${i + k}`,
            bytes: Math.floor((seconds * 9e6) / (k + 1)),
          })),
        })),
      }
    },
  }
}

function makeWorker(i: number, slots: number, random: () => number): WorkerStatus {
  const roll = random()
  const context = CONTEXTS[i % CONTEXTS.length]!
  const all = Array.from({ length: slots }, (_, slot) => slot)
  const held =
    roll < 0.04
      ? { context, level: 'absent' as const, doing: 'fetching' as const, bytesHeld: 1e9, bytesTotal: 3.4e9 }
      : roll < 0.07
        ? { context, level: 'disk' as const }
        : roll < 0.3
          ? { context, level: 'memory' as const, loadedIn: all }
          : { context, level: 'device' as const, loadedIn: all }
  return {
    id: `w${i + 1}`,
    site: SITES[i % SITES.length]!.name,
    pilot: `p${i + 1}`,
    node: `gpu${String(Math.floor(i / 2)).padStart(4, '0')}.cluster.example`,
    slots,
    state: roll > 0.995 ? 'suspect' : roll > 0.98 ? 'draining' : 'active',
    rate: 0,
    leased: 0,
    contexts: [held, { context: CONTEXTS[(i + 1) % CONTEXTS.length]!, level: 'disk' }],
    deadline: Date.now() + 3_600_000 + i * 1000,
  }
}

function jobsAt(done: number, tasks: number, startedAt: number): Pick<Status, 'jobs' | 'earlierJobs'> {
  const base = { function: 'verify', closed: true, retried: 0, createdAt: startedAt - 900_000 }
  const open = { ...base, state: 'open' as const }
  return {
    jobs: [
      {
        ...base,
        id: 1,
        name: 'pilot-study',
        context: 'fact-verification',
        state: 'finished',
        tasks: 2000,
        done: 2000,
        failed: 0,
      },
      {
        ...open,
        id: 2,
        name: 'claims-2026',
        context: 'fact-verification',
        tasks,
        done: done - 412,
        failed: 412,
      },
      {
        ...open,
        id: 3,
        name: 'abstracts',
        context: 'summaries',
        tasks: 90_000,
        done: Math.floor(done / 12),
        failed: 0,
      },
      {
        ...open,
        ...{ id: 4, name: 'pages', context: 'embeddings', tasks: 500, done: 0, failed: 0 },
        problem: 'context "embeddings" cannot be set up: model.onnx: protobuf parsing failed',
      },
    ],
    earlierJobs: 61,
  }
}

function sitesOf(workers: number, now: number): SiteStatus[] {
  const share = Math.floor(workers / SITES.length)
  return SITES.map((site, i) => ({
    ...site,
    order: 'work' as const,
    ...{
      max: share + 50,
      wanted: share + 20,
      pending: i === 3 ? 0 : 20,
      running: share,
      held: i === 1 ? 3 : 0,
    },
    registered: share,
    reasons:
      i === 1
        ? [
            { reason: 'QOSMaxJobsPerUserLimit', pilots: 14, state: 'pending' },
            { reason: 'Priority', pilots: 6, state: 'pending' },
          ]
        : [],
    ...(i === 2 && {
      paused: 'the last 3 pilots ended before they registered: node gpu0131: no space left on device (/tmp)',
      retryAt: Math.round(now / 60_000) * 60_000 + 60_000,
    }),
  }))
}

/** Numbers from 0 to 1 that are the same each time. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}
