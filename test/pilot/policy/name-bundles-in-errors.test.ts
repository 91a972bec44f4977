import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { nameBundles } from '../../../src/pilot/policy/name-bundles-in-errors.ts'

const folders = { model: '/cache/bundles/ab', app: '/cache/bundles/abc' }

describe('an error of a library', () => {
  test('speaks of bundles by the names that the context has for them', () => {
    const named = (message: string) => nameBundles({ name: 'Error', message }, folders).message
    assert.equal(named('/cache/bundles/ab/config.json is missing'), 'bundle model: config.json is missing')
    assert.equal(named('/cache/bundles/abc is no model'), 'bundle app is no model')
    assert.equal(named('no /elsewhere/ab'), 'no /elsewhere/ab')
  })

  test('is the same otherwise, and so is what led to it', () => {
    const stack = 'Error: at /cache/bundles/ab/index.js:1'
    const cause = { name: 'Error', message: 'ENOENT: /cache/bundles/ab/x', stack }
    const named = nameBundles({ name: 'A', message: 'it failed', cause, errors: [cause] }, folders)
    const said = { ...cause, message: 'ENOENT: bundle model: x' }
    assert.deepEqual(named, { name: 'A', message: 'it failed', cause: said, errors: [said] })
  })
})
