import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { notifier } from '../../../src/manager/services/events/notifications.ts'
import { listen } from '../../support/listen.ts'
import { until } from '../../support/until.ts'

const event = (reason: string) => ({ at: 1, type: 'site-paused' as const, site: 's', reason })

/** A log whose warnings are kept. */
function keptLog() {
  const lines: string[] = []
  return { lines, log: pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }) }
}

test('a command gets the events that it is for, as JSON on its input, and no shell reads any of it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-notify-'))
  const file = join(folder, 'told')
  const command = ['/bin/sh', '-c', 'cat >> "$0"; echo >> "$0"', file]
  const { lines, log } = keptLog()
  const tell = notifier([{ on: ['site-paused'], command }], log)
  tell(event('$(touch /tmp/x) `id`'))
  tell({ at: 1, type: 'site-resumed', site: 's' })
  tell(event('second'))
  const told = async () => (await readFile(file, 'utf8').catch(() => '')).trim().split('\n')
  await until(async () => (await told()).length === 2)
  assert.deepEqual(
    (await told()).map((line) => (JSON.parse(line) as { reason: string }).reason),
    ['$(touch /tmp/x) `id`', 'second'],
  )
  assert.deepEqual(lines, [])
  await rm(folder, { recursive: true })
})

test('a webhook that fails is tried again', async () => {
  const bodies: string[] = []
  await using server = await listen(
    createServer((request, response) => {
      let body = ''
      request.on('data', (chunk) => (body += String(chunk)))
      request.on('end', () => response.writeHead(bodies.push(body) < 2 ? 503 : 204).end())
    }),
  )
  const { lines, log } = keptLog()
  notifier([{ on: ['site-paused'], webhook: server.url }], log)(event('full'))
  await until(() => bodies.length === 2)
  assert.equal((JSON.parse(bodies[1]!) as { reason: string }).reason, 'full')
  assert.deepEqual(lines, [])
})

test('what cannot be told is logged, and no more than a bounded number of events waits for a command', async () => {
  const { lines, log } = keptLog()
  const tell = notifier(
    [
      { on: ['site-paused'], command: ['/nowhere/program'] },
      { on: ['site-resumed'], command: ['/bin/true'] },
    ],
    log,
  )
  tell(event('x'))
  await until(() => lines.some((line) => line.includes('a notification failed')))
  for (let i = 0; i < 150; i++) tell({ at: 1, type: 'site-resumed', site: 's' })
  assert.equal(lines.filter((line) => line.includes('dropped')).length, 49)
})
