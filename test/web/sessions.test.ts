import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SESSION_MS, Sessions } from '../../src/web/server/sessions.ts'

function setting() {
  const kept = new Map<string, string>()
  const clock = { now: 1_000_000 }
  const memory = {
    read: (key: string) => kept.get(key),
    write: (key: string, text: string) => void kept.set(key, text),
  }
  const start = () => new Sessions(memory, () => clock.now)
  return { kept, clock, start, sessions: start() }
}

describe('a login code', () => {
  test('opens one session, of the role it was made for', () => {
    const { sessions } = setting()
    const { code } = sessions.issue('viewer')
    const opened = sessions.open(code)!
    assert.equal(opened.role, 'viewer')
    assert.equal(sessions.find(opened.cookie, opened.key)?.role, 'viewer')
    assert.equal(sessions.open(code), undefined)
  })

  test('is good until it says, and not from then on', () => {
    const { sessions, clock } = setting()
    const [early, late] = [sessions.issue('operator'), sessions.issue('operator')]
    clock.now = early.expiresAt - 1
    assert.ok(sessions.open(early.code))
    clock.now = late.expiresAt
    assert.equal(sessions.open(late.code), undefined)
  })

  test('is void after a restart', () => {
    const { sessions, start } = setting()
    const { code } = sessions.issue('operator')
    assert.equal(start().open(code), undefined)
  })

  test('makes way for others once there are a hundred', () => {
    const { sessions } = setting()
    const codes = Array.from({ length: 101 }, () => sessions.issue('operator').code)
    assert.equal(sessions.open(codes[0]!), undefined)
    assert.ok(sessions.open(codes[1]!))
  })
})

describe('a session', () => {
  const signedIn = () => {
    const all = setting()
    return { ...all, opened: all.sessions.open(all.sessions.issue('operator').code)! }
  }

  test('needs both of its halves', () => {
    const { sessions, opened } = signedIn()
    const other = sessions.open(sessions.issue('operator').code)!
    assert.equal(sessions.find(opened.cookie, other.key), undefined)
    assert.equal(sessions.find(opened.cookie, undefined), undefined)
    assert.equal(sessions.find(undefined, opened.key), undefined)
    assert.equal(sessions.find(opened.key, opened.cookie), undefined)
  })

  test('goes on after a restart, of which nothing but hashes is kept', () => {
    const { opened, start, kept } = signedIn()
    assert.equal(start().find(opened.cookie, opened.key)?.role, 'operator')
    const text = [...kept.values()].join()
    assert.ok(!text.includes(opened.cookie) && !text.includes(opened.key))
  })

  test('ends after a week', () => {
    const { sessions, opened, clock } = signedIn()
    clock.now += SESSION_MS
    assert.equal(sessions.find(opened.cookie, opened.key), undefined)
  })

  test('ends when it signs out, after a restart too', () => {
    const { sessions, opened, start } = signedIn()
    sessions.end(sessions.find(opened.cookie, opened.key)!)
    assert.equal(sessions.find(opened.cookie, opened.key), undefined)
    assert.equal(start().find(opened.cookie, opened.key), undefined)
  })

  test('ends with all others, and with the codes, when all are ended', () => {
    const { sessions, opened } = signedIn()
    const { code } = sessions.issue('operator')
    assert.equal(sessions.endAll(), 1)
    assert.equal(sessions.find(opened.cookie, opened.key), undefined)
    assert.equal(sessions.open(code), undefined)
  })

  test('starts from nothing if what was kept is damaged', () => {
    const { kept, start } = signedIn()
    for (const key of kept.keys()) kept.set(key, '{"not":"sessions"')
    assert.ok(start().issue('viewer'))
  })
})
