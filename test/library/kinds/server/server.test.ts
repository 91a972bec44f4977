import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { parseListeners } from '../../../../src/library/kinds/server/listening-sockets.ts'
import { render, renderText, within } from '../../../../src/library/kinds/server/request-template.ts'
import { limits, type JsonValue } from '../../../../src/protocol/primitives.ts'
import { LibrarySpec } from '../../../../src/protocol/contexts/context.ts'
import { bundlesOf } from '../../../../src/protocol/contexts/library-traits.ts'
import { childrenOf, isAlive } from '../../../pilot/support/pilot-process.ts'
import { until } from '../../../support/until.ts'
import { acceptKind } from '../../support/kind-suite.ts'
import { startLibrary, type TestLibrary } from '../../support/library-process.ts'
import { createRecorder, valuesOf } from '../../support/recording-reporter.ts'
import { serverSetup } from '../../support/setup-message.ts'

const time = { timeout: 180_000 }
const add = { path: '/add', result: '{{ sum.0 }}' }
const argv = { method: 'GET', path: '/argv', result: '{{ argv }}' } as const
const start = [process.execPath, '{{ bundles.app }}/server.js', '{{ port }}']

acceptKind('server', () =>
  Promise.resolve({
    setup: serverSetup({ add }),
    name: 'add',
    good: [1, 2, 3, 40].map((n) => ({ input: { n }, value: 100 + n })),
    bad: {
      input: { n: 'many' },
      message: /^POST \/add was answered with status 422: n is "many", not a number$/,
    },
    broken: [
      {
        setup: serverSetup({ add }, { command: ['no-such-server', '{{ port }}'] }),
        message: /there is no program no-such-server: load its module in the site's `setup`/,
      },
      { setup: serverSetup({ add }, { command: [...start, 'fail'] }), message: /exited with code 3/ },
      {
        setup: serverSetup({ add }, { command: [...start, 'sick'], startLimit: 4 }),
        message: /not healthy after 4 s: GET \/health was answered with status 503/,
      },
      { setup: { ...serverSetup({ add }), bundles: {} }, message: /bundle "app"/ },
    ],
  }),
)

test('a server finds the other programs of the environment that it is from', time, async () => {
  const env = await mkdtemp(join(tmpdir(), 'gleaner-env-'))
  try {
    await mkdir(join(env, 'bin'))
    const programs = {
      serve: '#!/usr/bin/env beside-it\n',
      'beside-it': `#!/bin/sh\nshift; exec '${process.execPath}' "$@"\n`,
    }
    for (const [name, text] of Object.entries(programs))
      await writeFile(join(env, 'bin', name), text, { mode: 0o755 })
    const setup = serverSetup(
      { add, argv },
      { command: ['{{ bundles.env }}/bin/serve', ...start.slice(1), '{{ gpus }}'] },
    )
    const gpus = { count: 2, memory: 0, hasOthers: false }
    const context = await loadContext({ ...setup, gpus, bundles: { ...setup.bundles, env } })
    try {
      assert.deepEqual(await valuesOf(context, 'add', [{ n: 2 }]), [102])
      const words = (await valuesOf(context, 'argv', [null]))[0] as string[]
      assert.equal(words.at(-1), '2', 'it is told how many GPUs its slot has')
    } finally {
      await context.close()
    }
  } finally {
    await rm(env, { recursive: true })
  }
})

/** A library whose server runs, and the server's process. */
async function startServer(
  functions: Parameters<typeof serverSetup>[0],
  changes?: object,
): Promise<{ library: TestLibrary; server: number } & AsyncDisposable> {
  const library = await startLibrary(serverSetup(functions, changes))
  await library.next('ready')
  const [server] = await childrenOf(library.child.pid!)
  return {
    library,
    server: server!,
    async [Symbol.asyncDispose]() {
      await library[Symbol.asyncDispose]()
      if (isAlive(server!)) process.kill(server!, 'SIGKILL')
    },
  }
}

describe('a server library process', { concurrency: 2 }, () => {
  test('makes requests of inputs, and values of answers', time, async () => {
    await using here = await startServer({
      whole: { path: '/echo' },
      made: {
        path: '/echo',
        body: { text: 'say {{ a.0 }}!', all: '{{ a }}', n: 1 },
        result: { got: '{{ echo }}' },
      },
      put: { method: 'PUT', path: '/items/{{ name }}', body: ['{{ name }}'] },
      remove: { method: 'DELETE', path: '/items/a' },
    })
    const one = async (name: string, input: JsonValue, id: number) =>
      (await here.library.call(name, [input], id))[0]
    assert.deepEqual((await one('whole', { x: [1] }, 1))?.value, { echo: { x: [1] } })
    assert.deepEqual((await one('made', { a: ['hi', null] }, 2))?.value, {
      got: { text: 'say hi!', all: ['hi', null], n: 1 },
    })
    assert.deepEqual((await one('put', { name: 'a / b' }, 3))?.value, { put: ['a / b'] })
    assert.equal((await one('remove', {}, 4))?.value, null)
    assert.equal((await one('made', { b: 1 }, 5))?.error?.message, 'the input has no "a.0"')
    assert.match((await one('put', { name: [] }, 6))?.error?.message ?? '', /"name" of the input is no text/)
  })

  test('runs as many calls at once as it may, and hands in each as it ends', time, async () => {
    await using here = await startServer({
      wait: { path: '/wait' },
      most: { method: 'GET', path: '/most', result: '{{ most }}' },
    })
    const inputs = [11, ...Array<number>(11).fill(0)].map((others) => ({ together: 4, others }))
    const ended = await here.library.call('wait', inputs)
    assert.equal(ended.at(-1)?.id, 1)
    const [most] = await here.library.call('most', [null], 20)
    assert.equal(most?.value, 4)
  })

  test('tells bad answers apart, with the last that the server has written', time, async () => {
    const paths = { text: '/text', large: '/large', broken: '/break', absent: '/absent' }
    const functions = Object.fromEntries(
      Object.entries(paths).map(([name, path]) => [name, { path }] as const),
    )
    await using here = await startServer({ ...functions, add: { path: '/add', result: '{{ total }}' } })
    for (const [name, input, message] of [
      ['text', {}, /^the answer to POST \/text is not JSON: just text$/],
      ['large', { bytes: limits.value + 1 }, /^the answer to POST \/large is more than 8388608 bytes/],
      ['broken', {}, /^POST \/break was not answered: /],
      ['absent', {}, /status 404: there is no POST \/absent/],
      ['add', { n: 1 }, /^the answer to POST \/add has no "total"$/],
    ] as const) {
      const [ended] = await here.library.call(name, [input])
      assert.match(ended?.error?.message ?? '', message)
    }
    const [again] = await here.library.call('text', [{}])
    assert.match(again?.log ?? '', /POST \/text\n(.*\n)*POST \/add\n/)
  })

  test('ends as its server does, with or without a call', time, async () => {
    for (const [name, input, how] of [
      ['exit', { code: 7 }, { code: 7, signal: null }],
      ['kill', { signal: 'SIGKILL' }, { code: null, signal: 'SIGKILL' }],
      [undefined, null, { code: null, signal: 'SIGKILL' }],
    ] as const) {
      await using here = await startServer({ exit: { path: '/exit' }, kill: { path: '/kill' } })
      const { library } = here
      if (name) await library.channel.send({ type: 'call', function: name, calls: [{ id: 1, input }] })
      else process.kill(here.server, 'SIGKILL')
      await once(library.child, 'exit')
      const { code, signal, stderr } = await library.end()
      assert.deepEqual({ code, signal }, how)
      assert.match(stderr, /library: .*node (exited with code 7|was killed by SIGKILL)/)
    }
  })

  test(
    'takes the end of its server after a signal to everyone for the end by that signal',
    time,
    async () => {
      await using here = await startServer({ exit: { path: '/exit' } })
      const { library } = here
      library.child.kill('SIGTERM')
      await library.call('none', [null])
      await library.channel.send({ type: 'call', function: 'exit', calls: [{ id: 2, input: { code: 0 } }] })
      await once(library.child, 'exit')
      assert.equal((await library.end()).signal, 'SIGTERM')
    },
  )

  for (const how of ['willing', 'stubborn']) {
    test(`ends a ${how} server when its worker closes the stream, whatever runs`, time, async () => {
      await using here = await startServer({ hang: { path: '/hang' } }, { command: [...start, how] })
      await here.library.channel.send({ type: 'call', function: 'hang', calls: [{ id: 1, input: 0 }] })
      await here.library.next('begun')
      assert.equal((await here.library.end()).code, 0)
      await until(() => !isAlive(here.server))
    })
  }
})

describe('a server among strangers', () => {
  /** A listener that is no child of the library's, as another user's would be. */
  async function takePort(port: number): Promise<{ connections: () => number } & AsyncDisposable> {
    let connections = 0
    const stranger = createServer((_, response) => response.end('{"sum":[0]}'))
    stranger.on('connection', () => connections++)
    stranger.listen(port, '127.0.0.1')
    await once(stranger, 'listening')
    return {
      connections: () => connections,
      async [Symbol.asyncDispose]() {
        stranger.closeAllConnections()
        stranger.close()
        await once(stranger, 'close')
      },
    }
  }

  test(
    'is started at another port when its own is taken, and nothing is told to who took it',
    time,
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'gleaner-port-'))
      const file = join(folder, 'ports')
      const ports = async () =>
        (await readFile(file, 'utf8').catch(() => '')).split('\n').slice(0, -1).map(Number)
      const loading = loadContext(serverSetup({ add }, { command: [...start, 'late', file] }))
      await until(async () => (await ports()).length === 1)
      await using stranger = await takePort((await ports())[0]!)
      await until(async () => (await ports()).length === 2)
      await writeFile(`${file}.go`, '')
      const context = await loading
      assert.deepEqual(await valuesOf(context, 'add', [{ n: 1 }]), [101])
      assert.equal(stranger.connections(), 0)
      await context.close()
      await rm(folder, { recursive: true })
    },
  )

  test('whose port another program has whenever it is started is said to have no port', time, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gleaner-port-'))
    const file = join(folder, 'ports')
    const loading = loadContext(serverSetup({ add }, { command: [...start, 'late', file] }))
    const ended = loading.then(
      () => 'loaded',
      (error: Error) => error.message,
    )
    await using strangers = new AsyncDisposableStack()
    const taken = new Set<string>()
    await until(async () => {
      const ports = (await readFile(file, 'utf8').catch(() => '')).split('\n').slice(0, -1)
      for (const port of ports.filter((port) => !taken.has(port))) {
        strangers.use(await takePort(Number(port)))
        taken.add(port)
      }
      return (await Promise.race([ended, Promise.resolve()])) !== undefined
    })
    assert.match(await ended, /port \d+ is used by another program, of user \d+/)
    await rm(folder, { recursive: true })
  })

  test('is not asked once its port belongs to another process', time, async () => {
    const context = await loadContext(
      serverSetup({
        exit: { path: '/exit' },
        add,
        argv,
      }),
    )
    const [words] = await valuesOf(context, 'argv', [null])
    const reporter = createRecorder()
    await assert.rejects(
      async () => context.functions.get('exit')!([{ id: 1, input: { code: 3 } }], reporter),
      /exited with code 3/,
    )
    await using stranger = await takePort(Number((words as string[])[2]))
    await assert.rejects(async () => context.functions.get('add')!([{ id: 2, input: { n: 1 } }], reporter))
    assert.equal(stranger.connections(), 0)
    await context.close()
  })

  test('is reached by a socket in a folder that only its user can enter', time, async () => {
    const command = [process.execPath, '{{ bundles.app }}/server.js', '{{ socket }}']
    const context = await loadContext(serverSetup({ add, argv }, { command }))
    const [, [, , socket]] = (await valuesOf(context, 'add', [{ n: 1 }]).then(async (values) => [
      values,
      (await valuesOf(context, 'argv', [null]))[0],
    ])) as [unknown, string[]]
    assert.equal((await stat(dirname(socket!))).mode & 0o777, 0o700)
    assert.deepEqual(await valuesOf(context, 'add', [{ n: 1 }, { n: 2 }]), [101, 102])
    await context.close()
    await assert.rejects(stat(dirname(socket!)), /ENOENT/)
  })

  test(
    'answers only requests with the secret it shares with its library, which no command line shows',
    time,
    async () => {
      const secret = { variable: 'SERVER_KEY' }
      const context = await loadContext(serverSetup({ add, argv }, { secret }))
      assert.deepEqual(await valuesOf(context, 'add', [{ n: 1 }]), [101])
      const words = (await valuesOf(context, 'argv', [null]))[0] as string[]
      assert.equal(words.length, 3)
      const { status } = await fetch(`http://127.0.0.1:${words[2]}/argv`)
      assert.equal(status, 401)
      await context.close()
    },
  )
})

describe('listeners at a port', () => {
  const row = (local: string, state = '0A', uid = 1000, inode = 77) =>
    `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  ${uid}        0 ${inode} 1 0 100 0 0 10 0`
  const find = (...rows: string[]) => parseListeners(['  sl  local_address …', ...rows].join('\n'), 0x1f90)

  test('are those that get what is sent to 127.0.0.1, under whichever address they listen', () => {
    for (const local of ['0100007F', '00000000', '0'.repeat(32), '0000000000000000FFFF00000100007F'])
      assert.deepEqual(find(row(`${local}:1F90`)), [{ uid: 1000, inode: '77' }])
  })

  test('are not connections, nor those at other ports and addresses', () => {
    assert.deepEqual(find(row('0100007F:1F90', '01'), row('0100007F:1F91'), row('0200007F:1F90'), ''), [])
  })
})

describe('a description of a server', () => {
  const parse = (setup: object, fn: object = {}) =>
    LibrarySpec.safeParse({
      library: 'server',
      setup: { command: ['serve', '{{ port }}'], healthy: '/health', ...setup },
      functions: { f: { path: '/f', ...fn } },
    })

  test('names the bundles that its command has placeholders for', () => {
    const { data } = parse({
      command: ['{{ bundles.app }}/serve', '--model={{bundles.model}}', '{{ port }}'],
    })
    assert.deepEqual(data && bundlesOf(data), ['app', 'model'])
  })

  for (const [what, setup, fn, message] of [
    [
      'does not tell where to listen',
      { command: ['serve'] },
      {},
      /either its \{\{ socket \}\} or its \{\{ port \}\}/,
    ],
    ['names two places', { command: ['serve', '{{ port }}', '{{ socket }}'] }, {}, /either its/],
    [
      'has a secret in a variable that is none',
      { secret: { variable: 'A-B' } },
      {},
      /name of an environment variable/,
    ],
    [
      'has a secret in a header that is none',
      { secret: { variable: 'K', header: 'a: b' } },
      {},
      /name of a header/,
    ],
    [
      'has an unknown placeholder',
      { command: ['serve', '{{ prt }}', '{{ port }}'] },
      {},
      /placeholders other than/,
    ],
    ['is one text', { command: 'serve {{ port }}' }, {}, /array/],
    ['has a path that is none', { healthy: 'health' }, {}, /expected a path/],
    ['has an expression in its body', {}, { body: { a: ['{{ a | upper }}'] } }, /must hold a path/],
    ['has a setting there is not', {}, { headers: {} }, /headers/],
  ] as const) {
    test(`that ${what} is refused`, () => assert.match(parse(setup, fn).error?.message ?? '', message))
  }
})

describe('placeholders', () => {
  test('alone in a text become the value itself, and any value comes through', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const json = JSON.parse(JSON.stringify(value)) as JsonValue
        assert.deepEqual(render(['{{ a.0 }}'], within({ a: [json] }), 'it'), [json])
      }),
    )
  })

  test('find nothing that JSON does not have', () => {
    for (const path of ['constructor', 'a.length', 'a.b.c', 'toString', '__proto__']) {
      assert.throws(
        () => renderText(`{{ ${path} }}!`, within({ a: 'text' }), 'it'),
        /^TemplateError: it has no "/,
      )
    }
  })
})
