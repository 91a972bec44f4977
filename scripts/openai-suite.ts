import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { runFactory } from './support/running-factory.ts'

/*
 * The official Python client of the OpenAI API on a factory of its own: runs test/client/python/test_openai.py and says how each test
 * came out; the last line is JSON. The interpreter must have the package `openai`, by pip or, from Debian 13 on, as python3-openai.
 *
 *   npm run suite:openai -- --python /path/to/python3
 */

const Outcome = z.object({ name: z.string(), ms: z.number(), error: z.string().nullable() })
const { values } = parseArgs({ options: { python: { type: 'string', default: 'python3' } } })
const root = join(import.meta.dirname, '..')
const model = join(root, 'test/fixtures/models/grouped-query')

await using factory = await runFactory(
  { sites: { here: { kind: 'local', policy: 'fixed', count: 2, cpus: 1 } } },
  {
    bytes: {
      'context.yaml': `{ name: bytes, library: causal-lm, bundles: { model: ${model} }, setup: { model: model }, functions: { generate: {} } }`,
    },
  },
)
const child = spawn(values.python, ['-B', join(root, 'test/client/python/runner.py'), 'test_openai'], {
  env: { ...process.env, GLEANER_STATE: factory.state },
  stdio: ['ignore', 'pipe', 'inherit'],
})
const exited = once(child, 'exit') as Promise<[number | null]>
const outcomes = []
for await (const line of createInterface({ input: child.stdout })) {
  const { name, ms, error } = Outcome.parse(JSON.parse(line))
  outcomes.push(error)
  console.log(
    `${error === null ? 'passed' : 'FAILED'} (${Math.round(ms)} ms): ${name}${error === null ? '' : `\n${error}`}`,
  )
}
const [code] = await exited
const passed = outcomes.filter((error) => error === null).length
console.log(JSON.stringify({ passed, failed: outcomes.length - passed }))
if (code !== 0 || passed === 0 || passed < outcomes.length) process.exitCode = 1
