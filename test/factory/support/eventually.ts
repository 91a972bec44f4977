import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

type Truthy<T> = Exclude<T, false | 0 | '' | null | undefined>

/** Asks again until the answer is truthy. @param limit seconds; a guard against a hang, never a measure of speed */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  limit = 180,
): Promise<Truthy<T>> {
  const giveUpAt = performance.now() + limit * 1000
  for (;;) {
    const answer = await ask()
    if (answer) return answer as Truthy<T>
    assert.ok(performance.now() < giveUpAt, `not within ${limit} s: ${what}`)
    await sleep(20)
  }
}
