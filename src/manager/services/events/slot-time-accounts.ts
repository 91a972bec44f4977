import {
  closeAccount,
  enter,
  noSlotTime,
  openAccount,
  settle,
  type SlotAccount,
  slotUse,
} from '../../../core/slot-time.ts'
import type { Pool, SlotTime } from '../../../protocol/events.ts'
import type { AnyExchangeRequest, ContextReport } from '../../../protocol/worker.ts'
import type { Dispatcher } from '../dispatcher.ts'

/** Kinds of slots that are told apart: a driver may say anything. */
const MAX_POOLS = 32
const OTHER = 'other'

interface WorkerAccount {
  worker: string
  pool: PoolTotals
  account: SlotAccount
  reports: readonly ContextReport[]
  /** This manager knows it from its registration on. */
  isNew: boolean
  /** What its GPUs have drawn, as it said last, joules. */
  energyJ?: number | undefined
}

interface PoolTotals {
  site: string
  device: string
  spentMs: SlotTime
  energyJ?: number | undefined
}

/** Where the time of workers' slots goes, and what their GPUs draw, summed up for each site and kind of device. */
export class SlotTimeAccounts {
  readonly #dispatcher: Dispatcher
  readonly #workers = new Map<string, WorkerAccount>()
  readonly #pools = new Map<string, PoolTotals>()

  /** @param before totals of an earlier start, to go on from */
  constructor(dispatcher: Dispatcher, before: readonly Pool[]) {
    this.#dispatcher = dispatcher
    for (const { site, device, spentMs, energyJ } of before)
      this.#pools.set(poolKey(site, device), { site, device, spentMs: { ...spentMs }, energyJ })
  }

  /** @param bootMs time from the start of the pilot to now; undefined of a worker that an earlier start of this manager knew */
  open(
    { worker, site, device, slots }: { worker: string; site: string; device: string; slots: number },
    bootMs: number | undefined,
  ): void {
    const pool = this.#poolOf(site, device)
    const account = openAccount(slots, pool.spentMs, bootMs ?? 0, this.#dispatcher.now)
    this.#workers.set(worker, { worker, pool, account, reports: [], isNew: bootMs !== undefined })
  }

  #poolOf(site: string, device: string): PoolTotals {
    const key = poolKey(site, device)
    const known = this.#pools.get(key)
    if (known) return known
    if (this.#pools.size >= MAX_POOLS && device !== OTHER) return this.#poolOf(site, OTHER)
    const pool = { site, device, spentMs: noSlotTime() }
    this.#pools.set(key, pool)
    return pool
  }

  /** Takes in what a worker says. */
  note(
    worker: string,
    { contexts, results, energyJ }: Pick<AnyExchangeRequest, 'contexts' | 'results' | 'energyJ'>,
  ): void {
    const known = this.#workers.get(worker)
    if (!known) return
    known.reports = contexts
    if (energyJ !== undefined) noteEnergy(known, energyJ)
    this.#enter(known)
    if (results.some(({ outcome }) => outcome.status !== 'returned')) settle(known.account)
  }

  #enter({ worker, account, reports }: WorkerAccount): void {
    const inHand = this.#dispatcher.view.worker(worker)?.leased ?? 0
    enter(account, slotUse(account.slots, reports, inHand), this.#dispatcher.now)
  }

  /**
   * Ends the account of a worker that is gone.
   * @returns the slot time that was lost with it, milliseconds, and what its GPUs have drawn, joules, if it ever said
   */
  close(worker: string, goneAt: number): { lostMs: number; energyJ?: number } {
    const { account, energyJ } = this.#workers.get(worker)!
    this.#workers.delete(worker)
    const lostMs = closeAccount(account, Math.min(goneAt, this.#dispatcher.now))
    return { lostMs, ...(energyJ !== undefined && { energyJ }) }
  }

  /** What there is of each kind now, and what it has done. */
  pools(): Pool[] {
    const counts = new Map<PoolTotals, typeof NONE>()
    for (const known of this.#workers.values()) {
      this.#enter(known)
      const { use, slots } = known.account
      const sum = counts.get(known.pool) ?? NONE
      counts.set(known.pool, {
        workers: sum.workers + 1,
        slots: sum.slots + slots,
        fetching: sum.fetching + use.fetching,
        loading: sum.loading + use.loading,
        working: sum.working + use.working,
        idle: sum.idle + use.idle,
      })
    }
    return [...this.#pools.values()].map((pool) => ({
      site: pool.site,
      device: pool.device,
      ...(counts.get(pool) ?? NONE),
      spentMs: { ...pool.spentMs },
      ...(pool.energyJ !== undefined && { energyJ: pool.energyJ }),
    }))
  }

  /** Enters all that has gone by: workers that speak again after this were not heard of meanwhile. */
  settleAll(): void {
    for (const known of this.#workers.values()) {
      this.#enter(known)
      settle(known.account)
    }
  }
}

/** What a worker that returned had drawn when it was last heard of is not known: only what it draws from then on is counted. */
function noteEnergy(known: WorkerAccount, energyJ: number): void {
  const before = known.energyJ ?? (known.isNew ? 0 : energyJ)
  known.pool.energyJ = (known.pool.energyJ ?? 0) + Math.max(0, energyJ - before)
  known.energyJ = energyJ
}

const NONE = { workers: 0, slots: 0, fetching: 0, loading: 0, working: 0, idle: 0 }

const poolKey = (site: string, device: string) => `${site} ${device}`
