import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits until `condition` holds.
 * @param ms a guard against a test that would hang, far beyond what a slow and busy machine needs: never a measure of speed
 * @param everyMs how often it is looked: seldom where each look costs what is measured
 * @throws after `ms`, naming the condition
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  ms = 600_000,
  everyMs = 10,
): Promise<void> {
  const end = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${condition.toString()}`)
    await sleep(everyMs)
  }
}
