import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { PACKAGE, runPythonTests } from '../client/python/run.ts'
import { type Plant, clusterPlant } from './support/cluster-factory.ts'
import { inside, run, subfolder, testbed } from './support/testbed.ts'

const PROGRAMS = join(testbed.project, 'test/client/python')

describe('Python programs in the testbed', () => {
  let plant: Plant
  before(async () => {
    plant = clusterPlant({
      slurm: { kind: 'slurm', partition: 'low', count: 2 },
      htcondor: { kind: 'htcondor', count: 2, removeHeldAfter: '1s' },
    })
    await plant.start()
  })
  after(() => plant[Symbol.asyncDispose]())

  /** The command that starts Python where Parsl and its friends are, with our package and the factory. */
  const python = () => [
    ...inside('researcher', 'env'),
    `PYTHONPATH=${PACKAGE}`,
    `GLEANER_STATE=${join(plant.folder, 'state')}`,
    'python3',
    '-B',
  ]

  function startProgram(name: string) {
    const [file, ...args] = [...python(), join(PROGRAMS, name), subfolder(plant.folder, name)]
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    return { lines: createInterface({ input: child.stdout }), exited: once(child, 'exit') }
  }

  test('a Parsl program runs with nothing but its configuration changed: contexts, dependencies, exceptions', async () => {
    const { lines, exited } = startProgram('parsl_program.py')
    const said: string[] = []
    for await (const line of lines) said.push(line)
    assert.deepEqual(await exited, [0, null])
    const { refusal, loads, workers, blocks, ...rest } = JSON.parse(said.at(-1)!) as Record<string, unknown>
    assert.deepEqual(rest, {
      results: [7, 6, 5, 4, 3, 2, 1, 0],
      many: true,
      more: [7, 6, 5, 4, 3, 2, 1, 0],
      chain: 21,
      error: ['Odd', 7, true],
      status: rest['status'],
      outstanding: 0,
    })
    assert.ok((rest['status'] as string[]).includes('RUNNING'))
    assert.match(refusal as string, /'cores'.*context, bundles/)
    assert.ok((loads as number) >= 1 && (loads as number) <= 4, `loaded ${loads as number} times by 4 pilots`)
    assert.ok((workers as number) >= 1 && blocks === workers)
  })

  /** Takes a pilot's node away; false if it has left by itself meanwhile. */
  function evict({ site, jobId }: { site: string; jobId: string }): boolean {
    try {
      run('researcher', site === 'slurm' ? 'scancel' : 'condor_vacate_job', jobId)
      return true
    } catch {
      return false
    }
  }

  test('10,000 app calls of a Parsl program end right, though pilots are taken away on the way', async (t) => {
    const { lines, exited } = startProgram('parsl_evictions.py')
    let last = ''
    let evicted = 0
    for await (const line of lines) {
      last = line
      if (evicted === 6) continue
      const jobs = (await plant.jobs()).filter(({ state }) => state === 'running')
      const job = jobs[evicted % Math.max(1, jobs.length)]
      if (!job) continue
      if (evict(job)) evicted++
    }
    assert.deepEqual(await exited, [0, null])
    assert.equal(last, 'right')
    assert.ok(evicted > 2, `${evicted} pilots were evicted`)
    const { requeued } = await plant.status()
    t.diagnostic(`${evicted} pilots evicted, ${requeued} calls given back`)
  })

  test('the official client of the OpenAI API works with it', async (t) => {
    const folder = subfolder(plant.folder, 'bytes')
    const model = join(testbed.project, 'test/fixtures/models/grouped-query')
    const context = { name: 'bytes', library: 'causal-lm', bundles: { model }, setup: { model: 'model' } }
    writeFileSync(join(folder, 'context.yaml'), JSON.stringify({ ...context, functions: { generate: {} } }))
    await plant.factory('context', 'add', folder)
    await runPythonTests(t, ['test_openai'], { command: python() })
  })

  test('NumPy, pandas and Dask work with it', async (t) => {
    await runPythonTests(t, ['test_frames'], { command: python() })
  })
})
