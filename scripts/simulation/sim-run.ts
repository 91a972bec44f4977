import type { Plan } from './run-plan.ts'
import type { Timeline } from './virtual-clock.ts'

/** What every part of one simulated run shares: its plan, its clock, and how a broken rule ends it. */
export interface SimRun {
  readonly plan: Plan
  readonly time: Timeline
  /** @throws {Violation} */
  fail(what: string): never
}
