import { AsyncLocalStorage } from 'node:async_hooks'

/** Takes what a call says of how far it is. */
export type Report = (done: number, total: number | undefined) => void

const current = new AsyncLocalStorage<Report>()

/** Runs code in which `reportProgress` of a user's module reports to `report`. */
export function reportProgressTo<T>(report: Report, run: () => T): T {
  return current.run(report, run)
}

/** Has user modules find what `reportProgress` calls. */
export function installProgressReports(): void {
  const report: Report = (done, total) => current.getStore()?.(done, total)
  Object.assign(globalThis, { [Symbol.for('gleaner.progress')]: report })
}
