import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import { LEVELS } from '../../../protocol/contexts/context.ts'
import type { Pool, SlotTime } from '../../../protocol/events.ts'
import type { Status } from '../../../protocol/status.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { EventRecord } from '../events/record-events.ts'
import type { Peers } from '../peers.ts'
import type { StatusBoard } from '../status-board.ts'
import { DurationHistogram, FAST, SLOW } from './duration-histogram.ts'
import { QueueWaits } from './queue-waits.ts'

/** Contexts that are told apart; those that come later are `other`. */
const MAX_CONTEXTS = 100

export interface MetricSources {
  ledger: Ledger
  dispatcher: Dispatcher
  board: StatusBoard
  peers: Peers
  events: EventRecord
  version: string
}

/** The numbers of a factory, for a Prometheus to scrape. */
export interface Metrics {
  /** How long exchanges of workers keep the manager busy. */
  exchanges: DurationHistogram
  /** All of them, in the text format of Prometheus. */
  text(): Promise<string>
  contentType: string
}

/** Begins to count, and shows the counts together with what the status says at the moment of a scrape. */
export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry()
  const durations = timeThings(sources, registry)
  // Before the others, so that they all show the same moment.
  let status: Status
  let pools: Pool[]
  const look = () => {
    status = sources.board.read()
    pools = sources.events.workerEvents.pools()
  }
  showTasks(registry, sources, () => status)
  showPilots(registry, () => ({ status, pools }))
  showContexts(registry, sources, () => status)
  showManager(registry, sources)
  collectDefaultMetrics({ register: registry })
  return {
    exchanges: durations.exchanges,
    text: () => {
      look()
      return registry.metrics()
    },
    contentType: registry.contentType,
  }
}

function timeThings({ dispatcher, ledger }: MetricSources, registry: Registry) {
  const waits = new QueueWaits()
  const queued = new DurationHistogram(SLOW)
  const ran = new DurationHistogram(SLOW)
  const exchanges = new DurationHistogram(FAST)
  const commits = new DurationHistogram(FAST)
  queued.showIn(
    registry,
    'gleaner_task_queue_wait_seconds',
    'Time from a task being added, or the start of the manager, to its being given to a worker; each attempt counts.',
  )
  ran.showIn(registry, 'gleaner_task_run_seconds', 'Time that finished tasks took on their workers.')
  exchanges.showIn(
    registry,
    'gleaner_exchange_seconds',
    'Time that an exchange of a worker kept the manager busy, without the waits for work and for the disk.',
  )
  commits.showIn(registry, 'gleaner_ledger_commit_seconds', 'Time that a group of writes took to be on disk.')
  dispatcher.on('queued', (end) => waits.added(end, dispatcher.now))
  dispatcher.on('granted', (tasks) =>
    waits.granted(tasks, dispatcher.now, (ms, count) => queued.add(ms, count)),
  )
  dispatcher.on('ran', (ms) => ran.add(ms))
  ledger.commits.onCommit = (ms) => commits.add(ms)
  return { exchanges }
}

function showTasks(registry: Registry, { dispatcher, events }: MetricSources, status: () => Status): void {
  gauge(registry, 'gleaner_tasks_queued', 'Tasks that wait for a worker.', () => status().tasks.queued)
  gauge(registry, 'gleaner_tasks_leased', 'Tasks in the hands of workers.', () => status().tasks.leased)
  gauge(
    registry,
    'gleaner_tasks_per_second',
    'Tasks finished per second over the last ten.',
    () => status().rate,
  )
  counter(
    registry,
    'gleaner_tasks_finished_total',
    'Results, by outcome, since the ledger was made.',
    ['outcome'],
    () => [
      [{ outcome: 'done' }, events.totals.done],
      [{ outcome: 'failed' }, events.totals.failed],
    ],
  )
  const count = (name: 'duplicates' | 'requeued' | 'evictions' | 'lost') => () => [
    [{}, dispatcher.view.counts[name]] as Sample,
  ]
  counter(
    registry,
    'gleaner_duplicate_results_total',
    'Results that came for tasks that had one.',
    [],
    count('duplicates'),
  )
  counter(
    registry,
    'gleaner_tasks_requeued_total',
    'Tasks that workers had in hand and that are queued again.',
    [],
    count('requeued'),
  )
  counter(
    registry,
    'gleaner_evictions_total',
    'Workers that were told that their node is taken back, and left.',
    [],
    count('evictions'),
  )
  counter(
    registry,
    'gleaner_workers_lost_total',
    'Workers that fell silent, for whatever reason.',
    [],
    count('lost'),
  )
  const jobs = () => status().jobs.filter(({ state }) => state === 'open').length
  gauge(registry, 'gleaner_jobs_open', 'Jobs that have not ended.', jobs)
}

function showPilots(registry: Registry, now: () => { status: Status; pools: Pool[] }): void {
  gauges(registry, 'gleaner_pilots', 'Pilots by site and their state in its queue.', ['site', 'state'], () =>
    now().status.sites.flatMap(({ name: site, pending, running, held }) =>
      Object.entries({ pending, running, held }).map(([state, pilots]): Sample => [{ site, state }, pilots]),
    ),
  )
  gauges(
    registry,
    'gleaner_site_paused',
    '1 while a site submits nothing, for reasons that the status gives.',
    ['site'],
    () =>
      now().status.sites.map(({ name: site, paused }): Sample => [{ site }, Number(paused !== undefined)]),
  )
  const byPool = (value: (pool: Pool) => number) => () =>
    now().pools.map((pool): Sample => [{ site: pool.site, device: pool.device }, value(pool)])
  gauges(
    registry,
    'gleaner_workers',
    'Workers by site and by what their slots are.',
    ['site', 'device'],
    byPool(({ workers }) => workers),
  )
  gauges(registry, 'gleaner_slots', 'Slots by what they do.', ['site', 'device', 'use'], () =>
    now().pools.flatMap(({ site, device, fetching, loading, working, idle }) =>
      Object.entries({ fetching, loading, working, idle }).map(([use, slots]): Sample => [
        { site, device, use },
        slots,
      ]),
    ),
  )
  counter(
    registry,
    'gleaner_slot_seconds_total',
    'Slot time by what it went into, since the ledger was made; lost is work whose results never came.',
    ['site', 'device', 'phase'],
    () =>
      now().pools.flatMap(({ site, device, spentMs }) =>
        PHASES.map((phase): Sample => [{ site, device, phase }, spentMs[phase] / 1000]),
      ),
  )
}

const PHASES: (keyof SlotTime)[] = ['boot', 'fetch', 'load', 'inference', 'idle', 'lost']

function showContexts(registry: Registry, { peers }: MetricSources, status: () => Status): void {
  const known = new Set<string>()
  const named = (context: string) => {
    if (known.size < MAX_CONTEXTS) known.add(context)
    return known.has(context) ? context : 'other'
  }
  gauges(
    registry,
    'gleaner_contexts',
    'Workers by context and the level at which they hold it.',
    ['context', 'level'],
    () => {
      const counts = new Map<string, Sample>()
      for (const { context, level } of status().workers.flatMap(({ contexts }) => contexts)) {
        const name = named(context)
        for (const each of LEVELS) {
          const sample = counts.get(`${name} ${each}`) ?? [{ context: name, level: each }, 0]
          counts.set(`${name} ${each}`, [sample[0], sample[1] + Number(each === level)])
        }
      }
      return [...counts.values()]
    },
  )
  const sum = (value: (times: Status['contexts'][number]) => number) => () => {
    const sums = new Map<string, number>()
    for (const times of status().contexts)
      sums.set(named(times.context), (sums.get(named(times.context)) ?? 0) + value(times))
    return [...sums].map(([context, total]): Sample => [{ context }, total])
  }
  const times = (name: string, help: string, value: (times: Status['contexts'][number]) => number) =>
    counter(registry, name, help, ['context'], sum(value))
  times('gleaner_context_loads_total', 'How often a context was loaded on a worker.', ({ loads }) => loads)
  times(
    'gleaner_context_load_seconds_total',
    'Time that slots took to load it.',
    ({ loadMs }) => loadMs / 1000,
  )
  times(
    'gleaner_context_fetch_seconds_total',
    'Time that workers took to fetch it.',
    ({ fetchMs }) => fetchMs / 1000,
  )
  counter(
    registry,
    'gleaner_transfer_bytes_total',
    'Bytes of bundles that workers fetched, by source; unreported are those since the last report of a fetch.',
    ['source'],
    () => Object.entries(peers.bytes).map(([source, bytes]): Sample => [{ source }, bytes]),
  )
}

function showManager(registry: Registry, { ledger, version }: MetricSources): void {
  gauges(registry, 'gleaner_build_info', 'Version of the factory; always 1.', ['version'], () => [
    [{ version }, 1],
  ])
  gauge(registry, 'gleaner_ledger_bytes', 'Size of the ledger.', () => ledger.bytes)
  gauge(registry, 'gleaner_ledger_events', 'Events that the ledger keeps.', () => ledger.events.size.rows)
  gauge(registry, 'gleaner_ledger_trouble', '1 while the ledger cannot be written.', () =>
    Number(ledger.commits.trouble !== undefined),
  )
}

type Sample = [labels: Record<string, string>, value: number]

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  gauges(registry, name, help, [], () => [[{}, read()]])
}

function gauges(
  registry: Registry,
  name: string,
  help: string,
  labelNames: string[],
  read: () => Sample[],
): void {
  new Gauge({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset()
      for (const [labels, value] of read()) this.set(labels, value)
    },
  })
}

/** A counter whose total is kept elsewhere. */
function counter(
  registry: Registry,
  name: string,
  help: string,
  labelNames: string[],
  read: () => Sample[],
): void {
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset()
      for (const [labels, value] of read()) this.inc(labels, value)
    },
  })
}
