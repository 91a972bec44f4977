import type { SimRun } from './sim-run.ts'

/** Carries messages between two ends that may be unlucky. */
export class SimNetwork {
  readonly #run: SimRun
  /** Workers that are cut off from the manager, until when. */
  readonly #cut = new Map<string, number>()

  constructor(run: SimRun) {
    this.#run = run
  }

  partition(worker: string, ms: number): void {
    this.#cut.set(worker, this.#run.time.now + ms)
  }

  /** Delivers after a random time; while there are faults maybe twice, or never. */
  send(worker: string, deliver: () => void): void {
    const { time, plan } = this.#run
    const { random } = plan
    const calm = time.now >= plan.calmAt
    const arrive = () => {
      if ((this.#cut.get(worker) ?? 0) <= time.now) deliver()
    }
    if (!calm && random.chance(plan.loss)) return
    time.after(random.between(1, calm ? 20 : plan.delay), arrive)
    if (!calm && random.chance(plan.doubling)) time.after(random.between(1, 2 * plan.delay), arrive)
  }
}
