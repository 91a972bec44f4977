import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { managerForEachTest, startOn } from '../support/manager.ts'

const here = managerForEachTest()

test('a manager that stops takes back the word on how to reach it, and leaves that of its successor', async () => {
  const file = join(here.folder, 'endpoint.json')
  const successor = JSON.stringify({ url: 'http://127.0.0.1:1', token: 't', pid: 1, host: 'h' })
  await writeFile(file, successor)
  await here.manager.close()
  assert.equal(await readFile(file, 'utf8'), successor)
  here.manager = await startOn(here.folder)
  await here.manager.close()
  await assert.rejects(readFile(file), { code: 'ENOENT' })
  here.manager = await startOn(here.folder)
})
