import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { signTicket, TicketChecker } from '../../../src/bundle/format/ticket.ts'

const keys = generateKeyPairSync('ed25519')
const strangers = generateKeyPairSync('ed25519')
const tickets = new TicketChecker(keys.publicKey)
const others = new TicketChecker(strangers.publicKey)

const bundle = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'))
const time = fc.nat({ max: 2 ** 31 }).map((seconds) => seconds * 1000)

describe('a ticket', () => {
  test('is good for its bundle until its end, and for nothing else', () => {
    fc.assert(
      fc.property(bundle, bundle, time, time, (own, other, notAfter, now) => {
        const text = signTicket(keys.privateKey, { bundle: own, notAfter })
        assert.equal(tickets.isGood(text, own, now), now <= notAfter)
        assert.equal(tickets.isGood(text, own, notAfter), true)
        assert.equal(tickets.isGood(text, own, notAfter + 1), false)
        assert.equal(tickets.isGood(text, other, now), own === other && now <= notAfter)
        assert.equal(others.isGood(text, own, now), false)
      }),
    )
  })

  test('is good no more when any of its characters is different, missing or one too many', () => {
    const character = fc.stringMatching(/^[\w.=+/ -]$/)
    fc.assert(
      fc.property(bundle, fc.nat(), character, fc.nat({ max: 2 }), (own, at, inserted, removed) => {
        const text = signTicket(keys.privateKey, { bundle: own, notAfter: 2000 })
        assert.equal(tickets.isGood(text, own, 1000), true)
        const start = at % (text.length + 1)
        const changed = text.slice(0, start) + inserted + text.slice(start + removed)
        assert.equal(tickets.isGood(changed, own, 1000), changed === text)
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
        assert.equal(tickets.isGood(text, asked, now), false)
      }),
      { numRuns: 1_000 },
    )
  })
})
