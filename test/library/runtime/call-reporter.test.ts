import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonLinesChannel } from '../../../src/common/json-lines-channel.ts'
import { createCallReporter } from '../../../src/library/runtime/call-reporter.ts'
import { createQueue } from '../../../src/library/runtime/call-queue.ts'
import type { FromLibrary, ToLibrary } from '../../../src/protocol/library.ts'
import { until } from '../../support/until.ts'

test('of what calls say of how far they are, the first word goes at once, and then the last now and then', async () => {
  const sent: FromLibrary[] = []
  const channel = {
    send: (message: FromLibrary) => Promise.resolve(void sent.push(message)),
    sendJson: (text: string) => Promise.resolve(void sent.push(JSON.parse(text) as FromLibrary)),
  } as JsonLinesChannel<ToLibrary, FromLibrary>
  const queue = createQueue()
  const calls = [1, 2].map((id) => ({ id, input: null }))
  queue.add('f', calls)
  const reporter = createCallReporter(channel, queue)
  await reporter.begin(calls)
  for (let done = 0; done <= 1000; done++) reporter.progress([calls[0]!], done, 1000)
  reporter.progress(calls, 7, undefined)
  assert.deepEqual(sent.slice(1), [{ type: 'progress', calls: [{ id: 1, done: 0, total: 1000 }] }])
  reporter.end(calls[0]!, { value: 5 })
  await until(() => sent.length === 4)
  assert.equal(sent[2]?.type, 'ended')
  assert.deepEqual(sent[3], { type: 'progress', calls: [{ id: 2, done: 7 }] })
})
