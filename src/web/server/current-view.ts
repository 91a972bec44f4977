import type { Status } from '../../protocol/status.ts'
import type { Pool, SlotTime } from '../../protocol/events.ts'
import type { ContextSpec } from '../../protocol/contexts/context.ts'
import { createRates, noteCounters, rateOf } from '../policy/counter-rates.ts'
import type { ContextView, JobView, SpentView, TransferView, View } from '../view.ts'

/** Time over which rates are taken, milliseconds: the end of a job should not jump about. */
const JOB_WINDOW_MS = 20_000
const TRANSFER_WINDOW_MS = 5_000

/** Makes views of what the manager says of itself, one after the other: rates come from what changes between them. */
export class Present {
  readonly #jobs = createRates(JOB_WINDOW_MS)
  readonly #bytes = createRates(TRANSFER_WINDOW_MS)

  /** @param known the contexts that have a name now */
  view(status: Status, known: readonly ContextSpec[], pools: readonly Pool[]): View {
    const { version, startedAt, now, tasks, rate, duplicates, evictions, lost, requeued, earlierJobs } =
      status
    return {
      ...{ version, startedAt, now, tasks, rate: rounded(rate) },
      ...{ duplicates, evictions, lost, requeued, earlierJobs },
      jobs: this.#jobViews(status),
      sites: byName(status.sites, ({ name }) => name),
      workers: byName(
        status.workers.map((worker) => ({ ...worker, rate: rounded(worker.rate) })),
        ({ id }) => id,
      ),
      contexts: byName([...known.map(unused), ...status.contexts], ({ id }) => id),
      transfers: this.#transferViews(status, known),
      spent: spentBy(pools),
    }
  }

  #jobViews({ jobs, now, rate }: Status): Record<string, JobView> {
    noteCounters(this.#jobs, new Map(jobs.map(({ id, done, failed }) => [String(id), done + failed])), now)
    const open = jobs.filter(({ state }) => state === 'open')
    const rateOfJob = (id: number) => {
      const measured = rateOf(this.#jobs, String(id))
      // What all jobs do is what the only one does; that is known from before the page was opened.
      return measured === 0 && open.length === 1 && open[0]!.id === id ? rate : measured
    }
    return byName(
      jobs.map((job) => ({ ...job, rate: job.state === 'open' ? rounded(rateOfJob(job.id)) : 0 })),
      ({ id }) => String(id),
    )
  }

  #transferViews({ transfers, now }: Status, known: readonly ContextSpec[]): Record<string, TransferView> {
    const contextsOf = (bundle: string) =>
      known.filter(({ bundles }) => Object.values(bundles).includes(bundle)).map(({ name }) => name)
    const counterOf = (transfer: Status['transfers'][number], source: string) =>
      `${keyOf(transfer)} ${source}`
    const counters = transfers.flatMap((transfer) =>
      transfer.from.map(({ source, bytes }) => [counterOf(transfer, source), bytes] as const),
    )
    noteCounters(this.#bytes, new Map(counters), now)
    return byName(
      transfers.map(({ from, ...transfer }) => ({
        ...transfer,
        contexts: contextsOf(transfer.bundle),
        from: Object.fromEntries(
          from.map(({ source, bytes }) => {
            const rate = rounded(rateOf(this.#bytes, counterOf({ ...transfer, from }, source)))
            return [source, { bytes, rate }]
          }),
        ),
      })),
      keyOf,
    )
  }
}

const keyOf = ({ worker, bundle }: { worker: string; bundle: string }) => `${worker} ${bundle}`

const byName = <T>(items: T[], nameOf: (item: T) => string): Record<string, T> =>
  Object.fromEntries(items.map((item) => [nameOf(item), item]))

function spentBy(pools: readonly Pool[]): Record<string, SpentView> {
  const seconds = (ms: number) => Math.round(ms / 1000)
  return Object.fromEntries(
    [...Map.groupBy(pools, ({ device }) => device)].map(([device, alike]) => {
      const sum = (kind: keyof SlotTime) =>
        seconds(alike.reduce((all, { spentMs }) => all + spentMs[kind], 0))
      const slots = alike.reduce((all, pool) => all + pool.slots, 0)
      const [boot, fetch, load] = [sum('boot'), sum('fetch'), sum('load')]
      return [
        device,
        { slots, boot, fetch, load, inference: sum('inference'), idle: sum('idle'), lost: sum('lost') },
      ]
    }),
  )
}

/** A context that no worker has had to do with yet. */
const unused = ({ id, name }: ContextSpec): ContextView => ({
  ...{ id, context: name, fetchMs: 0, loadMs: 0, loads: 0, inferenceMs: 0, inferences: 0 },
})

/** Three digits are what people read; more would be news every second. */
const rounded = (value: number) => Number(value.toPrecision(3))
