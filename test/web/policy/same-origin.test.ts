import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isSameOrigin } from '../../../src/web/policy/same-origin.ts'

const host = '127.0.0.1:9700'

describe('a request comes from a page of this server', () => {
  test('when the browser says so, whatever a proxy made of the host', () => {
    assert.ok(isSameOrigin({ host: 'inner:1', origin: 'https://outer', 'sec-fetch-site': 'same-origin' }))
  })

  test('when an older browser names the host that was asked', () => {
    assert.ok(isSameOrigin({ host, origin: `http://${host}` }))
    assert.ok(isSameOrigin({ host: 'LocalHost:9700', origin: 'http://localhost:9700' }))
  })
})

describe('a request is foreign', () => {
  const foreign = {
    'of another port of the same host': {
      host,
      origin: 'http://127.0.0.1:8000',
      'sec-fetch-site': 'same-site',
    },
    'of another site': { host, origin: 'https://example.org', 'sec-fetch-site': 'cross-site' },
    'that the user typed or a bookmark opened': { host, 'sec-fetch-site': 'none' },
    'that says it comes from here, but whose browser knows better': {
      host,
      origin: `http://${host}`,
      'sec-fetch-site': 'cross-site',
    },
    'of another port, in an older browser': { host, origin: 'http://127.0.0.1:8000' },
    'of a sandboxed frame': { host, origin: 'null' },
    'that does not say where it comes from': { host },
  }
  for (const [name, headers] of Object.entries(foreign))
    test(name, () => assert.equal(isSameOrigin(headers), false))
})
