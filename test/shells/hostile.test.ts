import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Agent } from 'undici'
import { createEscape } from '../../src/cli/shell/shell-escape.ts'
import { requestUpgrade, UpgradeRefused } from '../../src/common/upgrades/request-upgrade.ts'
import { frame } from '../../src/protocol/channels/frames.ts'
import { byteFrames, SHELL, ShellFrame, shellReader } from '../../src/protocol/channels/shell-frames.ts'
import type { ShellRequest } from '../../src/protocol/channels/shell-frames.ts'
import { HttpWorker, makeState, removeState, startOn } from '../support/manager.ts'
import { until } from '../support/until.ts'

const WANTED: ShellRequest = { command: ['true'], input: true, user: 'a test' }

const opening = (request: unknown = WANTED) => {
  const text = Buffer.from(JSON.stringify(request))
  return frame(ShellFrame.OPEN, 0, text.length, text)
}

/** A manager with a worker that the test plays, and channels that it opens by hand. */
async function stage() {
  const state = await makeState()
  const manager = await startOn(state, { mayOpenShells: () => true })
  const worker = await HttpWorker.register(manager)
  const agent = new Agent()
  const dial = (path: string, token: string): Promise<Duplex> =>
    requestUpgrade(agent, SHELL, { origin: manager.url, path, headers: { authorization: `Bearer ${token}` } })
  const user = async () => {
    const socket = await dial('/v1/pilots/p1/shell', manager.token)
    return watch(socket)
  }
  /** The shells that the worker is told of. */
  const wanted = async (waitMs = 60_000) => (await worker.exchange({ waitMs })).body.shells ?? []
  return {
    manager,
    worker,
    dial,
    user,
    wanted,
    pilot: async (shell: string) =>
      watch(await dial(`/v1/workers/${worker.id}/shells/${shell}`, worker.session)),
    async [Symbol.asyncDispose]() {
      await agent.destroy()
      await worker.die()
      await manager.close()
      await removeState(state)
    },
  }
}

/** A connection, with what comes over it. */
function watch(socket: Duplex) {
  let bytes = Buffer.alloc(0)
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => (bytes = Buffer.concat([bytes, chunk])))
  return {
    socket,
    closed: once(socket, 'close'),
    has: (part: Buffer) => until(() => bytes.includes(part)),
  }
}

describe('the manager between a user and a pilot', () => {
  test('tells an idle pilot at once that a shell is wanted, again until it dials, and passes frames on', async () => {
    await using here = await stage()
    const told = here.wanted()
    const user = await here.user()
    user.socket.write(opening())
    const [shell] = await told
    assert.deepEqual(await here.wanted(0), [shell])
    const pilot = await here.pilot(shell!)
    await pilot.has(opening())
    assert.deepEqual(await here.wanted(0), [])
    const output = Buffer.concat([...byteFrames(ShellFrame.OUTPUT, Buffer.from('hello'))])
    pilot.socket.write(output)
    await user.has(output)
    pilot.socket.write(frame(ShellFrame.EXIT, 7, 0))
    await user.has(frame(ShellFrame.EXIT, 7, 0))
    await Promise.all([user.closed, pilot.closed])
  })

  test('opens none without the owner’s token, nor to a worker that it is not wanted of', async () => {
    await using here = await stage()
    const other = await HttpWorker.register(here.manager)
    const user = await here.user()
    user.socket.write(opening())
    const [shell] = await here.wanted()
    const status = (path: string, token: string) =>
      here.dial(path, token).then(
        () => 101,
        (error: unknown) => (error as UpgradeRefused).status,
      )
    const asked = [
      await status('/v1/pilots/p1/shell', here.worker.session),
      await status('/v1/pilots/p1/shell', 'wrong'),
      await status('/v1/pilots/p9/shell', here.manager.token),
      await status(`/v1/workers/${other.id}/shells/${shell}`, other.session),
      await status(`/v1/workers/${here.worker.id}/shells/${shell}`, other.session),
      await status(`/v1/workers/${here.worker.id}/shells/${'0'.repeat(32)}`, here.worker.session),
      await status('/v1/pilots/../shell', here.manager.token),
    ]
    await other.die()
    assert.deepEqual(asked, [401, 401, 404, 404, 401, 404, 400])
  })

  test('cuts off a user that sends what no user sends', async () => {
    await using here = await stage()
    const bad = [
      frame(ShellFrame.INPUT, 0, 1, Buffer.from('x')),
      frame(ShellFrame.OPENED),
      frame(99),
      frame(ShellFrame.OPEN, 0, 1 << 30),
      Buffer.concat([opening(), opening()]),
      Buffer.concat([opening(), frame(ShellFrame.RESIZE, 0, 0)]),
      Buffer.concat([opening(), frame(ShellFrame.OUTPUT, 0, 1, Buffer.from('x'))]),
    ]
    for (const bytes of bad) {
      const user = await here.user()
      user.socket.write(bytes)
      await user.closed
    }
    for (const request of [
      {},
      { ...WANTED, command: [] },
      { ...WANTED, more: 1 },
      { ...WANTED, user: '\x1b[2J' },
    ]) {
      const user = await here.user()
      user.socket.write(opening(request))
      await user.closed
    }
    assert.deepEqual(await here.wanted(0), [])
  })

  test('cuts off a pilot that sends what no pilot sends, and tells the user', async () => {
    await using here = await stage()
    for (const bytes of [frame(ShellFrame.INPUT, 0, 1), frame(ShellFrame.OUTPUT, 0, 1 << 20), frame(0)]) {
      const user = await here.user()
      user.socket.write(opening())
      const [shell] = await here.wanted()
      const pilot = await here.pilot(shell!)
      await pilot.has(opening())
      pilot.socket.write(bytes)
      await pilot.closed
      await user.has(Buffer.from('the connection to the pilot broke'))
      await user.closed
    }
  })

  test('ends shells with their worker, and takes no more than a few in one pilot', async () => {
    await using here = await stage()
    const users = await Promise.all(Array.from({ length: 8 }, here.user))
    await assert.rejects(here.user(), (error) => error instanceof UpgradeRefused && error.status === 429)
    users[0]!.socket.write(opening())
    await here.wanted()
    here.manager.registry.ended([{ pilot: 'p1', reason: 'a test' }])
    await users[0]!.has(Buffer.from('the pilot has ended'))
    await Promise.all(users.map(({ closed }) => closed))
  })
})

describe('the frames of a shell', () => {
  test('are read the same however the connection cuts them', () => {
    const message = fc.record({
      kind: fc.constantFrom(ShellFrame.OUTPUT, ShellFrame.ERROR),
      body: fc.uint8Array({ minLength: 1, maxLength: 200 }),
    })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(50)), (messages, cuts) => {
        let rest = Buffer.concat(
          messages.flatMap(({ kind, body }) => [...byteFrames(kind, Buffer.from(body))]),
        )
        const read: { kind: number; body: Uint8Array }[] = []
        const reader = shellReader('pilot', ({ kind, body }) =>
          read.push({ kind, body: new Uint8Array(body) }),
        )
        for (const cut of [...cuts, Infinity]) {
          reader.push(rest.subarray(0, cut))
          rest = rest.subarray(cut)
        }
        assert.deepEqual(
          read,
          messages.map(({ kind, body }) => ({ kind, body: new Uint8Array(body) })),
        )
      }),
    )
  })

  test('never make their reader do anything but read or throw, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('user' as const, 'pilot' as const),
        fc.uint8Array({ maxLength: 300 }),
        (from, bytes) => {
          const reader = shellReader(from, ({ body }) => assert.ok(body.length <= 64 << 10))
          try {
            reader.push(Buffer.from(bytes))
          } catch (error) {
            assert.match((error as Error).message, /frame/)
          }
        },
      ),
    )
  })
})

describe('the way out of a terminal', () => {
  const typed = (...pieces: string[]) => {
    const escape = createEscape()
    const all = pieces.map((piece) => escape(Buffer.from(piece)))
    return { sent: all.map(({ send }) => send.toString()).join(''), leaves: all.some(({ leaves }) => leaves) }
  }

  test('is a tilde and a dot after Enter, or at the beginning, in one piece or in several', () => {
    assert.deepEqual(typed('ls\r~.more'), { sent: 'ls\r', leaves: true })
    assert.deepEqual(typed('~', '.'), { sent: '', leaves: true })
    assert.deepEqual(typed('ls', '\r', '~', '.'), { sent: 'ls\r', leaves: true })
  })

  test('is nothing else: other tildes are typed as they are', () => {
    assert.deepEqual(typed('cd ~.\r~/x\r~~.y'), { sent: 'cd ~.\r~/x\r~.y', leaves: false })
    assert.deepEqual(typed('~a.~.'), { sent: '~a.~.', leaves: false })
  })
})
