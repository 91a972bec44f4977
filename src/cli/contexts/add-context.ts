import { setTimeout as delay } from 'node:timers/promises'
import type { Client, ContextSpec } from '../../client/index.ts'
import { showBytes } from '../views/progress/byte-progress.ts'

/** How often it is looked how far the files are, milliseconds. */
const LOOK_MS = 500

/** Has the factory add the context at a path of its machine, and shows how far it is with the files. */
export async function addContext(client: Client, path: string): Promise<ContextSpec> {
  let isOver = false
  const added = client.addContext(path).finally(() => (isOver = true))
  // It is waited for below, and may fail before.
  added.catch(() => {})
  using progress = showBytes(process.stderr)
  while (!isOver) {
    await Promise.race([added, delay(LOOK_MS, undefined, { ref: false })])
    // What the factory says of it is for the eye only: what went wrong is in its answer to the request itself.
    const packing = isOver ? [] : await client.packing().catch(() => [])
    const mine = packing.find((each) => each.path === path)
    if (mine) progress.update({ done: mine.done, total: mine.total, note: mine.bundle })
  }
  return await added
}
