import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { connect } from '../../src/client/index.ts'
import { openInput, readRows } from '../../src/client/formats/read-rows.ts'
import { factory, start } from '../cli/cli.ts'
import { CONTEXT, HttpWorker, makeState, removeState, startOn } from '../support/manager.ts'
import { until } from '../support/until.ts'

const ROWS = 300

/** Gives so many tasks their own input as their result, as they come, and then stands still. */
async function work(worker: HttpWorker, tasks: number): Promise<void> {
  for (let left = tasks; left > 0;) {
    const { leases } = (await worker.exchange({ room: left, waitMs: 1000 })).body
    const results = leases.flatMap(({ lease, tasks }) =>
      tasks.map(({ task, input }) => ({
        task,
        lease,
        outcome: { status: 'done' as const, value: input },
        ms: 1,
      })),
    )
    left -= results.length
    await worker.exchange({ results })
  }
}

describe('a run that is killed', () => {
  test('goes on when it is given again, whatever it reads and writes: nothing is lost or there twice', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gleaner-formats-'))
    const state = await makeState()
    const manager = await startOn(state)
    try {
      const csv = Array.from({ length: ROWS }, (_, i) => `r${i},"claim, ${i}"\n`)
      await writeFile(join(folder, 'in.csv'), `id,claim\n${csv.join('')}`)
      // A real packer, whose output is one that others make.
      execFileSync('gzip', ['-k', join(folder, 'in.csv')])
      execFileSync('zstd', ['-q', join(folder, 'in.csv')])
      const outputs = { 'out.csv.gz': 'in.csv.gz', 'out.parquet': 'in.csv.zst' }
      for (const [output, input] of Object.entries(outputs)) {
        const run = ['run', input, '--context', CONTEXT.name, '--out', output]
        const { child, ended } = start(run, { state, cwd: folder })
        await using client = connect({ state })
        const job = () => client.jobs().then((jobs) => jobs.find(({ name }) => name.startsWith(input)))
        await until(async () => ((await job())?.tasks ?? 0) > 0)
        const worker = await HttpWorker.register(manager)
        await work(worker, ROWS / 3)
        child.kill('SIGKILL')
        await ended
        const again = factory(run, { state, cwd: folder })
        await work(worker, ROWS - ROWS / 3)
        const { code, stdout, stderr } = await again
        assert.equal(code, 0, stderr)
        assert.match(stdout, /^300 done, 0 failed/)
        assert.equal((await job())?.tasks, ROWS)
        await worker.die()
      }
      const names = (await readdir(folder)).filter((name) => !name.startsWith('in.'))
      assert.deepEqual(names.sort(), ['out.csv.gz', 'out.parquet'], 'with nothing left beside them')

      const text = gunzipSync(await readFile(join(folder, 'out.csv.gz'))).toString()
      const read =
        'import csv,sys; print(*[r["id"] + "|" + r["result_claim"] for r in csv.DictReader(sys.stdin)], sep="\\n")'
      const rows = execFileSync('python3', ['-c', read], { input: text }).toString().trim().split('\n')
      assert.deepEqual(
        rows,
        Array.from({ length: ROWS }, (_, i) => `r${i}|claim, ${i}`),
      )
      const path = join(folder, 'out.parquet')
      const parquet = await Array.fromAsync(readRows(await openInput(path, path, undefined)))
      assert.deepEqual(
        parquet.map((row) => (row as { value: { id: string } }).value.id),
        Array.from({ length: ROWS }, (_, i) => `r${i}`),
      )

      const results = await factory(['results', '1', '--out', 'later.tsv'], { state, cwd: folder })
      assert.deepEqual([results.code, results.stderr], [0, '300 done, 0 failed\n'])
      assert.match(
        await readFile(join(folder, 'later.tsv'), 'utf8'),
        /^id\tclaim\tresult_id\tresult_claim\nr0\tclaim, 0\t/,
      )
    } finally {
      await manager.close()
      await removeState(state)
      await rm(folder, { recursive: true })
    }
  })
})
