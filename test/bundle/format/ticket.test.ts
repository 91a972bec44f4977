import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { checkTicket, signTicket } from '../../../src/bundle/format/ticket.ts'

const keys = generateKeyPairSync('ed25519')
const strangers = generateKeyPairSync('ed25519')

const bundle = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'))
const time = fc.nat({ max: 2 ** 31 }).map((seconds) => seconds * 1000)

describe('a ticket', () => {
  test('is good for its bundle until its end, and for nothing else', () => {
    fc.assert(
      fc.property(bundle, bundle, time, time, (own, other, notAfter, now) => {
        const text = signTicket(keys.privateKey, { bundle: own, notAfter })
        assert.equal(checkTicket(keys.publicKey, text, own, now), now <= notAfter)
        assert.equal(checkTicket(keys.publicKey, text, own, notAfter), true)
        assert.equal(checkTicket(keys.publicKey, text, own, notAfter + 1), false)
        assert.equal(checkTicket(keys.publicKey, text, other, now), own === other && now <= notAfter)
        assert.equal(checkTicket(strangers.publicKey, text, own, now), false)
      }),
    )
  })

  test('is good no more when any of its characters is different, missing or one too many', () => {
    const character = fc.stringMatching(/^[\w.=+/ -]$/)
    fc.assert(
      fc.property(bundle, fc.nat(), character, fc.nat({ max: 2 }), (own, at, inserted, removed) => {
        const text = signTicket(keys.privateKey, { bundle: own, notAfter: 2000 })
        const start = at % (text.length + 1)
        const changed = text.slice(0, start) + inserted + text.slice(start + removed)
        assert.equal(checkTicket(keys.publicKey, changed, own, 1000), changed === text)
      }),
      { numRuns: 1_000 },
    )
  })

  test('is refused, without an error, whatever text it is', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.base64String({ maxLength: 300 }).map((encoded) => `gt1.${encoded}`),
      fc
        .uint8Array({ minLength: 104, maxLength: 104 })
        .map((bytes) => `gt1.${Buffer.from(bytes).toString('base64url')}`),
    )
    fc.assert(
      fc.property(text, fc.oneof(bundle, fc.string()), fc.nat(), (text, asked, now) => {
        assert.equal(checkTicket(keys.publicKey, text, asked, now), false)
      }),
      { numRuns: 1_000 },
    )
  })
})
