import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { fanOut } from './fanout/fan-out.ts'
import type { FanOut, FanOutResult } from './fanout/fan-out.ts'
import { loopback } from './fanout/single-fetch.ts'
import { LOOPBACK, LOOPBACK_MB, scenarios } from './fanout/scenarios.ts'

/*
 * How fast a bundle gets to cold workers over links of equal speed. The bound is the time that one link takes for the file:
 * no worker can have it sooner. Each node is a process in a network namespace of its own, its link shaped both ways.
 */

const names = [...Object.keys(scenarios), LOOPBACK]
const USAGE = `usage: npm run bench:fanout -- [--scenario NAME,…] [--workers N] [--mb N] [--mbit N] [--folder DIR]

  --scenario  some of: ${names.join(', ')}; default: all
  --workers, --mb, --mbit   other numbers than the scenarios have: cold workers, size of the bundle, speed of each link
  --folder    where the nodes' files go; default: memory, if the machine offers it, so that one disk does not have to do
              for all nodes`

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: names.join(',') },
    workers: { type: 'string' },
    mb: { type: 'string' },
    mbit: { type: 'string' },
    folder: { type: 'string', default: existsSync('/dev/shm') ? '/dev/shm' : tmpdir() },
  },
})
const chosen = values.scenario.split(',')
const { workers, mb, mbit } = values
const others = Object.fromEntries(
  Object.entries({ workers, mb, mbit }).flatMap(([key, text]) =>
    text === undefined ? [] : [[key, Number(text)]],
  ),
) satisfies Partial<FanOut>
if (!chosen.every((name) => names.includes(name)) || !Object.values(others).every((number) => number > 0)) {
  console.error(USAGE)
  process.exit(2)
}
if (process.getuid?.() !== 0 && chosen.some((name) => name !== LOOPBACK)) {
  console.error('network namespaces need root: run it with sudo, or with --scenario loopback')
  process.exit(2)
}

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => interrupted.abort())
try {
  await measure(interrupted.signal)
} catch (error) {
  if (!interrupted.signal.aborted) throw error
  console.error('interrupted; nothing is left behind')
  process.exitCode = 130
}

async function measure(signal: AbortSignal): Promise<void> {
  const results: Record<string, FanOutResult> = {}
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (!chosen.includes(name)) continue
    const result = await fanOut({ ...scenario, ...others }, values.folder, signal)
    results[name] = result
    console.error(`${name}: ${result.all_warm_s} s, ${result.ratio} x the bound`)
  }
  if (Object.keys(results).length > 0) console.table(results)

  const near = chosen.includes(LOOPBACK)
    ? await loopback(others.mb ?? LOOPBACK_MB, values.folder, signal)
    : undefined
  if (near) console.table({ [LOOPBACK]: near })

  const [headline] = Object.values(results)
  console.log(JSON.stringify({ ...headline, scenarios: { ...results, ...(near && { [LOOPBACK]: near }) } }))
}
