import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until `condition` holds. @throws after `ms`, naming the condition */
export async function until(condition: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
  const end = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${condition.toString()}`)
    await sleep(10)
  }
}
