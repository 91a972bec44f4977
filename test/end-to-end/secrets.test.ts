import assert from 'node:assert/strict'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from '../support/until.ts'
import { plant, writeTasks } from './factory-fixture.ts'

/** Tokens of users and pilots, sessions of workers, tickets, and keys. */
const SECRET = /\b[upw][0-9]*\.[A-Za-z0-9_-]{43}\b|\bgt1\.[A-Za-z0-9_-]{20}|PRIVATE KEY/

/** Arguments and environment of every process that has to do with a folder, by pid. */
async function processesOf(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const read = (name: string) => readFile(join('/proc', pid, name), 'utf8').catch(() => '')
    const text = `${await read('cmdline')}\0${await read('environ')}`
    if (text.includes(folder)) found.set(pid, text)
  }
  return found
}

async function* filesIn(folder: string): AsyncGenerator<{ path: string; mode: number }> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    // It may have been a temporary one.
    const found = await stat(path).catch(() => undefined)
    if (found) yield { path, mode: found.mode & 0o777 }
  }
}

test('no secret is in the arguments, environment, logs or open files of a factory that works', async () => {
  await using here = await plant('manager: { listen: 0.0.0.0:0 }\nsites: { here: { kind: local, count: 2 } }')
  await writeTasks(join(here.folder, 'tasks.jsonl'), 300, { ms: 20 })
  await here.start()
  const run = here.begin('run', 'tasks.jsonl', '--context', 'words', '--out', 'results.jsonl')
  await until(async () => (await here.status()).tasks.done > 20)

  const processes = await processesOf(here.folder)
  const kinds = { factory: /\0start\0/, worker: /worker\.js/, library: /library/ }
  for (const [kind, pattern] of Object.entries(kinds)) {
    assert.ok(
      [...processes.values()].some((text) => pattern.test(text)),
      `no ${kind} was looked at`,
    )
  }
  for (const [pid, text] of processes) assert.doesNotMatch(text, SECRET, `process ${pid}`)
  assert.equal((await run.ended).code, 0)

  let secrets = 0
  let logs = 0
  for await (const { path, mode } of filesIn(here.folder)) {
    if (path.endsWith('.log')) {
      logs++
      assert.doesNotMatch(await readFile(path, 'latin1'), SECRET, path)
    } else if (SECRET.test(await readFile(path, 'latin1'))) {
      secrets++
      assert.equal(mode & 0o077, 0, `${path} has mode ${mode.toString(8)}`)
    }
  }
  assert.ok(secrets >= 3 && logs >= 3, `${secrets} files with secrets, ${logs} logs`)
})
