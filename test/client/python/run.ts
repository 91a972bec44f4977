import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { delimiter } from 'node:path'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findTestPackages } from './packages.ts'

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** The folder from which programs import Python's package. */
export const PACKAGE = path('../../../src/client/python')
const RUNNER = path('runner.py')

/** How one of Python's unit tests came out. */
interface Outcome {
  name: string
  ms: number
  error: string | null
}

/**
 * Runs Python's unit tests in these modules of this folder; each is a test of `t` with its own name.
 *
 * @param command what starts Python, with what comes before its arguments: an interpreter that has all that they need. By
 *   default this machine's, with what the tests need beside it
 */
export async function runPythonTests(
  t: TestContext,
  modules: readonly string[],
  { env = {}, command }: { env?: Record<string, string>; command?: readonly string[] } = {},
): Promise<void> {
  const [program, ...args] = command ?? ['python3']
  const packages = command ? undefined : await findTestPackages()
  const child = spawn(program!, [...args, '-B', RUNNER, ...modules], {
    env: { ...process.env, PYTHONPATH: [PACKAGE, ...(packages ? [packages] : [])].join(delimiter), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exit = once(child, 'exit') as Promise<[number | null]>
  const stderr = text(child.stderr)
  let count = 0
  for await (const line of createInterface({ input: child.stdout })) {
    const { name, error } = JSON.parse(line) as Outcome
    count++
    await t.test(name, () => {
      if (error !== null) throw new Error(error)
    })
  }
  const [code] = await exit
  if (code !== 0 || count === 0) throw new Error(`${count} tests ran, exit code ${code}: ${await stderr}`)
}
