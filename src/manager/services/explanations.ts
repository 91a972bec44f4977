import type { JobExplanation, SiteExplanation } from '../../protocol/explanation.ts'
import type { PilotStatus } from '../../protocol/status.ts'
import { notFound } from '../http/api-errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Contexts } from './contexts/contexts.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Jobs } from './jobs/jobs.ts'
import type { StatusBoard } from './status-board.ts'

/** What pilots are in before they have a worker. */
const COMING = new Set<PilotStatus['state']>(['submitting', 'pending', 'running'])

/** Says why things stand as they do, from what was decided last. */
export class Explanations {
  readonly #ledger: Ledger
  readonly #dispatcher: Dispatcher
  readonly #jobs: Jobs
  readonly #contexts: Contexts
  readonly #board: StatusBoard

  constructor(parts: {
    ledger: Ledger
    dispatcher: Dispatcher
    jobs: Jobs
    contexts: Contexts
    board: StatusBoard
  }) {
    this.#ledger = parts.ledger
    this.#dispatcher = parts.dispatcher
    this.#jobs = parts.jobs
    this.#contexts = parts.contexts
    this.#board = parts.board
  }

  /** @throws {RequestError} 404 if there is no such job, or it has no task of that key */
  job(id: number, key?: string): JobExplanation {
    const { view, now } = this.#dispatcher
    const info = this.#jobs.info(id)
    const task = key === undefined ? undefined : this.#task(id, key)
    const { sites } = this.#board
    const away = sites.pilots().filter(({ worker }) => worker === undefined)
    const explanation = view.explain({
      info,
      now,
      reports: this.#board.reports,
      nameOf: (context) => this.#contexts.find(context)?.name ?? context.slice(0, 12),
      pilots: {
        coming: away.filter(({ state }) => COMING.has(state)).length,
        held: away.filter(({ state }) => state === 'held').length,
      },
      sites: sites.status().flatMap(({ name }) => sites.explain(name) ?? []),
      ...(task && { task }),
    })
    const traceparent = task ? task.log.traceparent : info.traceparent
    return { ...explanation, ...(traceparent !== undefined && { traceparent }) }
  }

  #task(id: number, key: string) {
    const log = this.#jobs.log(id, key)
    return { number: this.#ledger.tasks.numberOf(id, key)!, log }
  }

  /** @throws {RequestError} 404 if there is no such site */
  site(name: string): SiteExplanation {
    const explanation = this.#board.sites.explain(name)
    if (!explanation) throw noSite(name)
    return explanation
  }
}

export const noSite = (name: string) => notFound(`there is no site ${name}; \`factory sites\` lists them`)
