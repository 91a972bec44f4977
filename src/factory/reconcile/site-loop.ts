import PQueue from 'p-queue'
import type { PilotStatus, SiteOrder, SiteStatus } from '../../protocol/status.ts'
import type { SiteExplanation } from '../../protocol/explanation.ts'
import { interruptibleSleep } from '../../common/interruptible-sleep.ts'
import { siteProblems, type SiteProblem } from '../policy/site-problems.ts'
import { RelayDown } from '../relays/site-relay.ts'
import { needsLogin } from '../transports/ssh/connection.ts'
import { type SiteAim, COMMAND_LIMIT, SiteReconciler, type SiteParts } from './site-reconciler.ts'
import type { SiteConfig } from '../config/config.ts'
import type { Site } from '../sites/site.ts'

export type SiteLoopOptions = Omit<SiteParts, 'site'> & {
  /** Makes the site; `onChange` tells the loop that its queue has changed. */
  site: (onChange: () => void) => Site
}

/** Keeps one site's queue as its policy wants it, from now until it is stopped. */
export class SiteLoop {
  readonly #parts: SiteParts
  readonly #keeper: SiteReconciler
  readonly #bell = interruptibleSleep()
  readonly #turns = new PQueue({ concurrency: 1 })
  readonly #submitting: PQueue
  readonly #preparing = new AbortController()
  #aim: SiteAim | 'left' = 'work'
  /** What went wrong with the batch system, or on the way to it, in the last turn. */
  #trouble: SiteProblem | undefined
  readonly #running: Promise<void>
  #stopped: Promise<void> | undefined

  constructor({ site, ...parts }: SiteLoopOptions) {
    this.#parts = { ...parts, site: site(this.#bell.ring) }
    this.#keeper = new SiteReconciler(this.#parts)
    const perMinute = parts.config.submitRate
    this.#submitting = new PQueue({ concurrency: 1, interval: 60_000, intervalCap: perMinute, strict: true })
    this.#running = this.#run()
  }

  status(): SiteStatus {
    return this.#keeper.status(this.#problems)
  }

  /** Why it has the pilots it has. */
  explain(): SiteExplanation {
    return this.#keeper.explain(this.#problems)
  }

  get #problems(): SiteProblem[] {
    return siteProblems(this.#trouble, this.#parts.relay?.trouble)
  }

  /** Its pilots that have not ended. */
  pilotStatuses(): PilotStatus[] {
    return this.#keeper.pilotStatuses()
  }

  get name(): string {
    return this.#parts.config.name
  }

  get config(): SiteConfig {
    return this.#parts.config
  }

  /** Keeps to an order of a user's from now on. */
  order(order: SiteOrder): void {
    this.#parts.registry.setOrder(this.name, order)
    this.#bell.ring()
  }

  /** Looks at the queue soon, because something has changed. */
  wake(): void {
    this.#bell.ring()
  }

  /**
   * Ends the site's pilots and resolves once its queue is empty. Called again without `drain`, it waits for work no longer.
   * @param drain let them finish the work that is queued first.
   */
  stop({ drain }: { drain: boolean }): Promise<void> {
    this.#aim = drain && this.#aim !== 'empty' ? 'finish' : 'empty'
    this.#bell.ring()
    return (this.#stopped ??= this.#finish())
  }

  /** Ends the loop, and leaves the site's pilots to the one that takes its place. */
  async leave(): Promise<void> {
    this.#aim = 'left'
    this.#bell.ring()
    await this.#quiet()
  }

  async #run(): Promise<void> {
    const { kind, poll } = this.#parts.config
    const shortest = kind === 'local' ? 50 : 1000
    await this.#turn(() => this.#keeper.recall())
    while (this.#aim === 'work') {
      await this.#turn(() => this.#keeper.look('work'))
      if (this.#keeper.wantsMore && !this.#trouble && this.#submitting.size + this.#submitting.pending === 0)
        void this.#submitting.add(() => this.#prepareAndSubmit())
      await this.#bell.sleep(shortest, poll * 1000)
    }
  }

  async #prepareAndSubmit(): Promise<void> {
    try {
      await this.#keeper.prepare(this.#preparing.signal)
    } catch (error) {
      // A relay tells of itself.
      if (error instanceof RelayDown) return
      return this.#fail(error as Error)
    }
    await this.#turn(() => this.#submit())
  }

  async #submit(): Promise<void> {
    if (this.#aim !== 'work') return
    await this.#keeper.submit()
    // A submission that was too large is tried again at once, smaller.
    if (this.#keeper.shouldRetry) this.#bell.ring()
  }

  /** Resolves once nothing is under way any more. */
  async #quiet(): Promise<void> {
    this.#submitting.clear()
    this.#preparing.abort()
    await this.#running
    await this.#turns.onIdle()
  }

  async #finish(): Promise<void> {
    await this.#quiet()
    await this.#finishWork()
    this.#aim = 'empty'
    await this.#empty()
  }

  /** Resolves once there is nothing more to do, or the loop was stopped, or it need not be done. */
  async #finishWork(): Promise<void> {
    while (this.#aim === 'finish' && this.#keeper.hasWork) {
      await this.#turn(() => this.#keeper.look('finish'))
      if (this.#isEmpty) return
      await this.#pause()
    }
  }

  async #empty(): Promise<void> {
    const { name, grace } = this.#parts.config
    const giveUpAt = Date.now() + grace * 1000 + 2 * COMMAND_LIMIT
    for (;;) {
      // Also when it cannot be seen what there is: whatever is known to have been submitted is told to go.
      await this.#turn(() => this.#keeper.look('empty').finally(() => this.#keeper.removeAll()))
      if (this.#isEmpty) return
      if (Date.now() > giveUpAt) {
        const left = `still in the queue: ${this.#keeper.pilots.join(', ')}`
        const unseen = `${this.#trouble?.text}; what was submitted was told to go, and nothing shows whether it went`
        throw new Error(`site ${name}: ${this.#trouble === undefined ? left : unseen}`)
      }
      await this.#pause()
    }
  }

  /** Whether the queue could be seen, and nothing was in it. */
  get #isEmpty(): boolean {
    return this.#trouble === undefined && this.#keeper.pilots.length === 0
  }

  /** Until the queue may look different, while the end is waited for. */
  #pause(): Promise<void> {
    return this.#bell.sleep(50, Math.min(this.#parts.config.poll * 1000, 1000))
  }

  /** Looking and submitting take turns. What goes wrong with the batch system is the site's state, not the factory's end. */
  #turn(work: () => Promise<void>): Promise<void> {
    return this.#turns.add(async () => {
      try {
        await work()
        this.#trouble = undefined
      } catch (error) {
        this.#fail(error as Error)
      }
    })
  }

  #fail(error: Error): void {
    this.#trouble = { of: needsLogin(error) ? 'login' : 'batch-system', text: error.message }
    this.#parts.log.error({ err: error }, 'the batch system does not answer as it should')
  }
}
