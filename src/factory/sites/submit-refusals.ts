import type { BatchSiteConfig } from '../config/config.ts'
import type { CommandResult, Transport } from '../transports/transport.ts'
import { type BatchKind, oneLine } from './batch-kind.ts'
import { SubmitRefused } from './site.ts'

/** How a batch system's command to submit says no. */
type Submitter = Pick<BatchKind<BatchSiteConfig>, 'refusal' | 'submitter'>

/** What a batch system means when it does not take a submission, and what it taught of its limits. */
export class SubmitRefusals {
  /** Most pilots of one submission. */
  largest = Infinity
  readonly #kind: Submitter
  readonly #transport: Transport

  constructor(kind: Submitter, transport: Transport) {
    this.#kind = kind
    this.#transport = transport
  }

  /** What a failed command to submit so many pilots means: a {@link SubmitRefused} if none was taken for certain. */
  async explain(result: CommandResult, pilots: number, signal: AbortSignal): Promise<Error> {
    const { definite, open, tooMany, limit } = this.#kind.refusal
    const said = oneLine(result.stderr) || oneLine(result.stdout)
    const message = `${this.#kind.submitter}: ${said || `exit code ${result.code}`}`
    if (!definite.test(said) || open.test(said)) return new Error(`${message} (its jobs may still turn up)`)
    if (pilots === 1) return new SubmitRefused(message)
    if (limit?.said.test(said)) {
      const answer = await this.#transport.run(limit.ask, { signal }).catch(() => undefined)
      const most = limit.largest(answer?.stdout ?? '')
      // What is within the limit and refused all the same is refused whatever its size: then one by one.
      this.largest = most !== undefined && most < pilots ? Math.max(1, most) : 1
      return new SubmitRefused(message, { tooMany: true })
    }
    return new SubmitRefused(message, { tooMany: tooMany.test(said) })
  }
}
