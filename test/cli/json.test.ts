import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { FactorySites } from '../../src/core/interfaces/factory-sites.ts'
import { jsonShapes } from '../../src/cli/json-output/json-shapes.ts'
import { createProgram } from '../../src/cli/program.ts'
import type { SiteStatus } from '../../src/protocol/status.ts'
import { CONTEXT, HttpWorker, managerForEachTest } from '../support/manager.ts'

const here = managerForEachTest()

const site: SiteStatus = {
  ...{ name: 'gpu', kind: 'slurm', policy: 'fixed', order: 'work', max: 1, wanted: 1 },
  ...{ pending: 1, running: 0, held: 0, registered: 0, reasons: [] },
}
const sites: FactorySites = {
  status: () => [site],
  pilots: () => [{ pilot: 'p1', site: 'gpu', state: 'pending', jobId: '17_0', reason: 'Priority' }],
  order: () => site,
  explain: () => ({ site: 'gpu', summary: 's', reasons: [{ code: 'pending', text: 'It waits.' }] }),
  reload: () => Promise.resolve({ applies: ['site gpu'], restart: [] }),
}

/** Runs commands in this process; what each prints has the shape that is documented for it. */
function runner(t: TestContext, state = () => here.folder) {
  const log = t.mock.method(console, 'log', () => {})
  t.after(() => (process.exitCode = 0))
  return async (command: keyof typeof jsonShapes, ...args: string[]): Promise<unknown> => {
    log.mock.resetCalls()
    const words = [...command.split(' ').slice(1), ...args, '--json']
    await (await createProgram()).parseAsync(['--state', state(), ...words], { from: 'user' })
    assert.equal(log.mock.callCount(), 1, `${command} prints one document`)
    const printed: unknown = JSON.parse(log.mock.calls[0]!.arguments[0] as string)
    const parsed = jsonShapes[command].safeParse(printed)
    assert.ok(parsed.success, `${command}: ${parsed.error?.message}`)
    // Nothing is printed that the shape does not know of.
    assert.deepEqual(parsed.data, printed, command)
    return printed
  }
}

test('what commands print with --json has the shape that is documented', async (t) => {
  const run = runner(t)
  here.manager.showSites(sites)
  const file = (name: string) => join(here.folder, name)
  await writeFile(file('tasks.jsonl'), '{"id":"a"}\n{"id":"b"}\n')
  await writeFile(file('factory.yaml'), 'sites: { gpu: { kind: slurm, count: 1 } }\n')
  await mkdir(file('app'))
  await writeFile(file('app/a.js'), 'export const f = () => 1\n')
  await writeFile(
    file('app/context.yaml'),
    'name: app\nlibrary: module\nbundles: { app: . }\nsetup: { bundle: app, file: a.js }\nfunctions: { f: { export: f } }\n',
  )

  const worker = await HttpWorker.register(here.manager)
  const input = ['run', file('tasks.jsonl'), '--context', CONTEXT.name, '--out', file('out.jsonl')]
  const running = run('factory run', ...input.slice(1))
  let done = 0
  while (done < 2) done += await worker.workUntilIdle()
  const summary = jsonShapes['factory run'].parse(await running)
  assert.deepEqual([summary.done, summary.failed], [2, 0])

  const job = String(summary.job.id)
  for (const command of ['status', 'reload', 'pilots', 'workers'] as const) await run(`factory ${command}`)
  await run('factory jobs list')
  await run('factory jobs show', job)
  await run('factory report', job)
  await run('factory errors', job)
  await run('factory explain', job)
  await run('factory explain', 'gpu')
  await run('factory events', '--last', '1')
  await run('factory sites list')
  for (const order of ['pause', 'drain', 'resume'] as const) await run(`factory sites ${order}`, 'gpu')
  await run('factory config check')
  await run('factory config show')
  await run('factory backup', file('copy.db'))
  await run('factory retry', job)
  await run('factory cancel', job)
  await run('factory forget', job)
  await run('factory context add', file('app'))
  await run('factory context warm', 'app')
  await run('factory context list')
  await run('factory context drop', 'app')
  await run('factory key create', 'reader')
  await run('factory key list')
  await run('factory key revoke', 'reader')
  await run('factory bundle create', file('app'), '--name', 'mine')
  await run('factory bundle list')
  await run('factory bundle verify', 'mine')
  await run('factory bundle remove', 'mine')
  await runner(t, () => file('fresh'))('factory init')
  await writeFile(
    file('fresh/factory.yaml'),
    'sites: { far: { kind: slurm, count: 1, transport: { ssh: nowhere.invalid } } }\n',
  )
  await runner(t, () => file('fresh'))('factory login', 'far', '--end')
  await worker.die()
})

test('a run whose results go to standard output cannot print JSON there, too', async (t) => {
  const run = runner(t)
  await assert.rejects(run('factory run', 'tasks.jsonl', '--context', 'ctx', '--out', '-'), /--out a file/)
})
