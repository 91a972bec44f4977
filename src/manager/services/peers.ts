import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Logger } from 'pino'
import { signTicket } from '../../bundle/format/ticket.ts'
import {
  noteAccusation,
  createPeerTable,
  noteFetchEnd,
  noteHolder,
  noteGone,
  peersFor,
} from '../../core/peer-selection.ts'
import { RelayAddress } from '../../protocol/relay.ts'
import type { Transfer } from '../../protocol/status.ts'
import type { Source, SourcesRequest } from '../../protocol/piece-sources.ts'
import { type ContextReport, WorkerId } from '../../protocol/worker.ts'
import type { Contexts } from './contexts/contexts.ts'
import type { Dispatcher } from './dispatcher.ts'
import { notFound } from '../http/api-errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { WorkerSessions } from './pilots/worker-sessions.ts'

/** Time a ticket is good for, milliseconds; a fetch asks for new ones while it runs. */
const TICKET_MS = 300_000

/** What workers call the relay of their site. */
const RELAY = 'relay'

/** The manager's key for tickets, made at the first start. */
export function ticketKeys(ledger: Ledger): {
  privateKey: KeyObject
  publicKey: KeyObject
  publicText: string
} {
  const pem = ledger.metaOrNew('ticket-key', () =>
    generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  )
  const privateKey = createPrivateKey(pem)
  const publicKey = createPublicKey(privateKey)
  return {
    privateKey,
    publicKey,
    publicText: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  }
}

/** Who holds which bundle and serves it: names sources to workers that fetch, and keeps the account of their fetches. */
export class Peers {
  /** Where this manager serves pieces itself. */
  managerUrl = ''
  readonly #sessions: WorkerSessions
  readonly #contexts: Contexts
  readonly #dispatcher: Dispatcher
  readonly #log: Logger
  readonly #privateKey: KeyObject
  readonly #known = createPeerTable()
  readonly #transfers = new Map<string, Transfer>()
  readonly #hasRelay: (site: string) => boolean
  /** By `worker bundle`: fetches that the relay of their site has failed. */
  readonly #failedByRelay = new Set<string>()
  /** Bytes that workers fetched since the manager started, by what kind of source they came from. */
  readonly bytes = { manager: 0, peer: 0, shared: 0, unreported: 0 }

  constructor(parts: {
    sessions: WorkerSessions
    contexts: Contexts
    dispatcher: Dispatcher
    log: Logger
    tickets: { privateKey: KeyObject }
    /** Whether the pilots of a site reach it through a relay. */
    hasRelay: (site: string) => boolean
  }) {
    this.#hasRelay = parts.hasRelay
    this.#sessions = parts.sessions
    this.#contexts = parts.contexts
    this.#dispatcher = parts.dispatcher
    this.#log = parts.log
    this.#privateKey = parts.tickets.privateKey
    parts.dispatcher.on('worker-gone', (worker) => this.#forget(worker))
  }

  #forget(worker: string): void {
    noteGone(this.#known, worker)
    for (const key of this.#failedByRelay) if (key.startsWith(`${worker} `)) this.#failedByRelay.delete(key)
    for (const [key, transfer] of this.#transfers) if (transfer.worker === worker) this.#transfers.delete(key)
  }

  /** Enters what a fetch has brought since its last report. */
  #count(before: Transfer | undefined, { from }: Transfer): void {
    const known = new Map(before?.from.map(({ source, bytes }) => [source, bytes]))
    for (const { source, bytes } of from) {
      const kind = source === 'manager' ? 'manager' : WorkerId.safeParse(source).success ? 'peer' : 'shared'
      this.bytes[kind] += Math.max(0, bytes - (known.get(source) ?? 0))
    }
  }

  /** Notes where a worker holds its contexts. */
  note(worker: string, reports: ContextReport[]): void {
    const bundlesOf = (context: string) => Object.values(this.#contexts.find(context)?.bundles ?? {})
    const isFetching = ({ level, doing }: ContextReport) => level === 'absent' && doing === 'fetching'
    // Contexts share bundles.
    const fetching = new Set(reports.filter(isFetching).flatMap(({ context }) => bundlesOf(context)))
    for (const { context, level } of reports) {
      for (const bundle of bundlesOf(context)) {
        if (level !== 'absent') this.#holds(worker, bundle)
        if (!fetching.has(bundle)) this.#endsFetch(worker, bundle, level !== 'absent')
      }
    }
  }

  #endsFetch(worker: string, bundle: string, isThere: boolean): void {
    const key = `${worker} ${bundle}`
    const transfer = this.#transfers.get(key)
    if (!transfer) return
    this.#transfers.delete(key)
    if (isThere) this.bytes.unreported += Math.max(0, transfer.totalBytes - transfer.heldBytes)
    noteFetchEnd(this.#known, worker, bundle)
  }

  #holds(worker: string, bundle: string): void {
    if (this.#sessions.find(worker)?.info.pieces !== undefined) noteHolder(this.#known, worker, bundle)
  }

  /**
   * Names sources of a bundle to a worker that fetches it, the manager always among them.
   * @param dialled `HOST:PORT` by which the worker has reached the manager: that of a relay, if its site has one
   * @throws {ApiError} 404 for a bundle that no context needs
   */
  sources(worker: string, request: SourcesRequest, dialled?: string): Source[] {
    const { bundle, heldBytes, totalBytes, from } = request
    if (!this.#contexts.need(bundle)) throw notFound(`no context needs the bundle ${bundle}`)
    for (const fault of request.faults) {
      this.#log.warn({ worker, bundle, ...fault }, 'a source was left out')
      if (fault.reason === 'corrupt' && this.#sessions.find(fault.source))
        noteAccusation(this.#known, fault.source, worker)
    }
    if (request.faults.some(({ source }) => source === RELAY)) this.#failedByRelay.add(`${worker} ${bundle}`)
    const left = new Set(request.faults.map(({ source }) => source))
    const ticket = signTicket(this.#privateKey, { bundle, notAfter: this.#dispatcher.now + TICKET_MS })
    const manager: Source = { name: 'manager', url: this.managerUrl, ticket, kind: 'manager' }
    // No event would tell when it is gone.
    if (!this.#dispatcher.view.hasWorker(worker)) return [manager]
    // A relay stands for the manager: what each took from the manager itself would cross the link to it again.
    const isRelayed = this.#hasRelay(this.#siteOf(worker) ?? '') && RelayAddress.safeParse(dialled).success
    const seeder: Source =
      isRelayed && !this.#failedByRelay.has(`${worker} ${bundle}`)
        ? { name: RELAY, url: `http://${dialled}`, ticket, kind: 'peer', seeds: true }
        : manager
    const key = `${worker} ${bundle}`
    const transfer = { worker, bundle, heldBytes, totalBytes, from }
    this.#count(this.#transfers.get(key), transfer)
    this.#transfers.set(key, transfer)
    const peers = peersFor(this.#known, worker, bundle, left, Math.random).flatMap((name): Source[] => {
      const url = this.#sessions.find(name)?.info.pieces
      return url === undefined || !this.#areInReach(worker, name) ? [] : [{ name, url, ticket, kind: 'peer' }]
    })
    this.#holds(worker, bundle)
    return [seeder, ...peers]
  }

  #siteOf(worker: string): string | undefined {
    return this.#sessions.find(worker)?.site
  }

  /** Workers behind a relay, which reach no other site. */
  #areInReach(worker: string, other: string): boolean {
    const [site, otherSite] = [this.#siteOf(worker) ?? '', this.#siteOf(other) ?? '']
    return site === otherSite || !(this.#hasRelay(site) || this.#hasRelay(otherSite))
  }

  /** Fetches that are under way. */
  transfers(): Transfer[] {
    return [...this.#transfers.values()]
  }
}
