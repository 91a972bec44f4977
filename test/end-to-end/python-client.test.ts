import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { runPythonTests } from '../client/python/run.ts'
import { plant } from './factory-fixture.ts'

test('a Python program on a factory', async (t) => {
  await using here = await plant()
  await here.start()
  const folder = join(here.folder, 'program')
  await mkdir(folder)
  await runPythonTests(t, ['test_calls', 'test_executor', 'test_rows', 'test_polars', 'test_interrupts'], {
    env: { GLEANER_STATE: here.state, GLEANER_TEST_FOLDER: folder },
  })
})
