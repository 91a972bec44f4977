import { parseArgs } from 'node:util'
import { makeState, removeState } from '../test/support/manager.ts'
import { fuzz } from './fuzz/fuzz.ts'
import type { Memory } from './support/memory.ts'

/*
 * Sends malformed requests to every route of a manager. Each must be answered with a 4xx; none may crash it, make it hang,
 * or stay in its memory.
 */

const { values } = parseArgs({
  options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
})
const requests = Number(values.requests)
const seed = Number(values.seed)
if (!Number.isInteger(requests) || requests < 100 || !Number.isInteger(seed)) {
  console.error('usage: fuzz-api [--requests N] [--seed N]   (at least 100)')
  process.exit(2)
}

const mb = (bytes: number) => Math.round(bytes / 1e5) / 10
const show = ({ live, rss }: Memory) => `${mb(live)} MB of objects, ${mb(rss)} MB in all`
const folder = await makeState()
const startedAt = performance.now()
try {
  const report = await fuzz({
    folder,
    requests,
    seed,
    onProgress: (sent, memory) => console.log(`${sent} requests; the manager has ${show(memory)}`),
  })
  const { byKind, byFate, problems, before, after, ...counts } = report
  console.table(byKind)
  for (const problem of problems) console.log(`WRONG ${problem}`)
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const memory = {
    heap_before_mb: mb(before.live),
    heap_after_mb: mb(after.live),
    rss_before_mb: mb(before.rss),
    rss_after_mb: mb(after.rss),
  }
  console.log(JSON.stringify({ ...counts, ...memory, answers: byFate, problems: problems.length, seconds }))
  if (problems.length > 0) process.exitCode = 1
} finally {
  await removeState(folder)
}
