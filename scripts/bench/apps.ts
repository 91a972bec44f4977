import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { encode } from '../../src/client/functions/value-codec.ts'
import { limits } from '../../src/protocol/limits.ts'
import { runFactory } from '../support/running-factory.ts'

/*
 * What a call costs an application, through everything: its own module on two workers of one CPU each, arguments and results
 * packed and unpacked, results on disk before they are acknowledged. Small calls, large values each way, and, for sizes around
 * the one from which values go beside the queue, both ways.
 */

const { values } = parseArgs({
  options: {
    calls: { type: 'string', default: '20000' },
    mib: { type: 'string', default: '256' },
  },
})
const calls = Number(values.calls)
const MIB = 2 ** 20
/** Of each large value, bytes. */
const LARGE = 8 * MIB
const large = Math.max(1, Math.round((Number(values.mib) * MIB) / LARGE))

const config = {
  sites: { here: { kind: 'local', policy: 'fixed', count: 2, cpus: 1 } },
  manager: { idle: '10m' },
}
await using factory = await runFactory(config, {})
const { client } = factory
const app = client.app<typeof import('./apps/module.ts')>('./apps/module.ts')

/** Runs something and tells how long it took, seconds. */
async function timed(run: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await run()
  return (performance.now() - startedAt) / 1000
}
const many = <T>(count: number, call: (i: number) => T) =>
  Promise.all(Array.from({ length: count }, (_, i) => call(i)))
const round = (value: number) => Math.round(value * 10) / 10

/** Small calls: all at once, by `map`, and one after the other. */
async function measureSmall() {
  await many(1000, (i) => app.same(i))
  const atOnce = await timed(() => many(calls, (i) => app.same(i)))
  const mapped = await timed(async () => {
    for await (const { error } of app.same.map(Array.from({ length: calls }, (_, i) => -i)))
      if (error) throw error
  })
  const times: number[] = []
  for (let i = 0; i < 100; i++) times.push((await timed(() => app.same(0.5 + i))) * 1000)
  times.sort((a, b) => a - b)
  return {
    calls_per_s: Math.round(calls / atOnce),
    mapped_per_s: Math.round(calls / mapped),
    p50_ms: round(times[50]!),
    p99_ms: round(times[99]!),
  }
}

/** Large values: to workers, back, the same for many calls, and from call to call without coming here. */
async function measureLarge() {
  const total = (large * LARGE) / MIB
  const inputs = Array.from({ length: large }, () => randomBytes(LARGE))
  const to = await timed(() => many(large, (i) => app.sizeOf(inputs[i]!)))
  const from = await timed(() => many(large, (i) => app.make(LARGE + i)))
  const shared = await timed(() => many(large, (i) => app.sizeOf(inputs[i % 2]!)))
  const between = await timed(() => many(large, (i) => app.sizeOf(app.make(LARGE - 1 - i))))
  return {
    arguments_mib_per_s: round(total / to),
    results_mib_per_s: round(total / from),
    shared_mib_per_s: round(total / shared),
    between_calls_mib_per_s: round(total / between),
  }
}

/** Calls with an argument of one size: in the queue, as all smaller ones are, and beside it. */
async function compareWays(size: number) {
  const count = Math.min(400, Math.round((64 * MIB) / size))
  const context = (await client.contexts()).find(({ name }) => name.startsWith('module-'))!.name
  const inputs = () => Array.from({ length: count }, () => randomBytes(size))
  const [inline, apart] = [inputs(), inputs()]
  const inQueue = await timed(async () => {
    const job = await client.createJob({ name: `inline-${size}`, context, function: 'sizeOf' })
    await job.add(inline.map((bytes, i) => ({ key: `${i}`, input: encode([bytes]) })))
    await job.close()
    let done = 0
    for await (const { status } of job.results()) done += Number(status === 'done')
    if (done !== count) throw new Error(`${count - done} calls failed`)
  })
  const beside = await timed(() => many(count, (i) => app.sizeOf(apart[i]!)))
  return { in_queue_per_s: round(count / inQueue), beside_per_s: round(count / beside) }
}

const small = await measureSmall()
console.table({ [`${calls} small calls`]: small })
const largeOnes = await measureLarge()
console.table({ [`${large} values of ${LARGE / MIB} MiB`]: largeOnes })
const ways: Record<string, Awaited<ReturnType<typeof compareWays>>> = {}
for (const size of [limits.inline, 2 * limits.inline, 4 * limits.inline, 16 * limits.inline]) {
  ways[`${size / 1024}_kib`] = await compareWays(size)
}
console.table(ways)
console.log(JSON.stringify({ ...small, ...largeOnes, ways }))
