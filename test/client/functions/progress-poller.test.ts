import assert from 'node:assert/strict'
import { describe, mock, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createProgressPoller } from '../../../src/client/functions/progress-poller.ts'
import { until } from '../../support/until.ts'

describe('news', () => {
  test('are asked for together, only of what is looked at and can have any', async () => {
    const asked: string[][] = []
    const ended = new Set<string>()
    const news = createProgressPoller<{ key: string; at: number }>({
      ask(keys) {
        asked.push(keys)
        return Promise.resolve(keys.map((key) => ({ key, at: asked.length })))
      },
      isOpen: (key) => !ended.has(key),
    })
    assert.equal(news.of('a'), undefined)
    assert.equal(news.of('b'), undefined)
    await until(() => news.of('b')?.at === 2)
    assert.deepEqual(asked[1], ['a', 'b'])
    ended.add('a').add('b')
    const before = asked.length
    news.of('a')
    await nextTurn()
    assert.equal(asked.length, before)
  })

  test('that cannot be had are asked for again', async () => {
    let asked = 0
    const ask = mock.fn(() =>
      ++asked === 1 ? Promise.reject(new Error('away')) : Promise.resolve([{ key: 'a' }]),
    )
    const news = createProgressPoller<{ key: string }>({ ask, isOpen: () => true })
    await until(() => news.of('a') !== undefined)
    assert.equal(asked, 2)
  })
})
