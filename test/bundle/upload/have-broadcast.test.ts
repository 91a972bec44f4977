import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isHaveDue } from '../../../src/bundle/upload/have-broadcast.ts'

test('news of pieces are told one by one at first and at the end, and between in few frames', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20_000 }), (pieces) => {
      const frames: number[] = []
      for (let held = 1, untold = 1; held <= pieces; held++, untold++) {
        if (!isHaveDue(untold, held, pieces)) continue
        frames.push(untold)
        untold = 0
      }
      assert.equal(frames[0], 1)
      assert.equal(
        frames.reduce((sum, told) => sum + told, 0),
        pieces,
      )
      assert.ok(frames.length <= 96, `${frames.length} frames`)
    }),
  )
})
