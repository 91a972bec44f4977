import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type RequestListener, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type TestContext, after, before, describe, test } from 'node:test'
import { PilotEnvironment } from '../../../src/protocol/pilot-environment.ts'
import { eventually } from '../support/eventually.ts'
import { TOKEN, bootPilot, settingsFor, workerEnvironment } from '../support/pilot-settings.ts'
import { tinyRuntime } from '../support/tiny-runtime.ts'

const worker = 'env | grep -e ^GLEANER_ -e ^NODE_\necho "worker of $(id -u) in $PWD"\n'
let root: string
let runtime: { path: string; sha256: string }

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'gleaner-pilot-'))
  runtime = await tinyRuntime(join(root, 'runtime'), worker)
})
after(() => rmSync(root, { recursive: true }))

/** A pilot's folder and a node's cache, both new. */
function fresh(name: string) {
  const folder = mkdtempSync(join(root, `${name}-`))
  return { folder, cache: join(folder, 'cache') }
}

/** Settings for a pilot that finds the runtime's archive on its node's own file system. */
const shared = (cache: string, archive = runtime) => settingsFor(cache, archive)

/** The same for one that has to ask the manager. */
const remote = (cache: string, manager: string, archive = runtime) => ({
  ...shared(cache, archive),
  GLEANER_MANAGER: manager,
  GLEANER_RUNTIME_FILE: '/nowhere/runtime.tar.gz',
})

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const sendRuntime: RequestListener = (request, response) => {
  if (request.headers.authorization !== `Bearer ${TOKEN}`) return response.writeHead(401).end()
  if (request.url !== `/v1/runtime/${runtime.sha256}`) return response.writeHead(404).end()
  return response.end(readFileSync(runtime.path))
}

function sendHalf(response: ServerResponse, then?: () => void) {
  const bytes = readFileSync(runtime.path)
  response.write(bytes.subarray(0, bytes.length >> 1), then)
}

/** A folder that can stand for PATH, with the usual commands but for some. */
function pathWithout(folder: string, ...missing: string[]) {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const found = ['/bin', '/usr/bin'].flatMap((from) =>
    readdirSync(from).map((name): [string, string] => [name, from]),
  )
  // The last folder that has a name counts; also a link that leads nowhere is linked to once.
  for (const [name, from] of new Map(found))
    if (!missing.includes(name)) symlinkSync(join(from, name), join(bin, name))
  return bin
}

describe('pilot.sh', () => {
  for (const shell of ['/bin/dash', '/bin/bash'])
    test(`boots a worker from a shared archive under ${shell}`, async () => {
      const { folder, cache } = fresh('shared')
      const { code, output } = await bootPilot({ folder, settings: shared(cache), shell }).done
      assert.equal(code, 0, output)
      const environment = PilotEnvironment.parse(workerEnvironment(output))
      assert.equal(environment.GLEANER_CACHE, cache)
      assert.equal(environment.GLEANER_CPUS, 2)
      assert.equal(environment.GLEANER_MEMORY_MB, 1024)
      assert.equal(environment.GLEANER_DEADLINE, undefined)
      assert.equal(readFileSync(environment.GLEANER_TOKEN_FILE, 'utf8').trim(), TOKEN)
      assert.match(output, new RegExp(`^worker of \\d+ in ${environment.GLEANER_SCRATCH}$`, 'm'))
    })

  test('becomes the worker, so that a signal reaches it', async () => {
    const { folder, cache } = fresh('signal')
    const archive = await tinyRuntime(
      join(folder, 'runtime'),
      'trap "echo told to leave; exit 3" TERM\necho ready\nwhile :; do sleep 0.05; done\n',
    )
    const { child, done } = bootPilot({ folder, settings: shared(cache, archive) })
    let said = ''
    while (!said.includes('ready')) said += String((await once(child.stdout, 'data'))[0])
    child.kill('SIGTERM')
    const { code, output } = await done
    assert.match(output, /told to leave/)
    assert.equal(code, 3)
  })

  test('starts from the cache, when neither archive nor manager is there', async () => {
    const { folder, cache } = fresh('cached')
    await bootPilot({ folder, settings: shared(cache) }).done
    const { code, output } = await bootPilot({ folder, settings: remote(cache, 'http://127.0.0.1:9') }).done
    assert.equal(code, 0)
    assert.match(output, new RegExp(`^NODE_COMPILE_CACHE=${cache}/runtime/${runtime.sha256}/compiled$`, 'm'))
  })

  for (const [client, missing] of Object.entries({ curl: 'wget', wget: 'curl' }))
    test(`fetches the runtime from the manager with ${client}, without showing its token to anybody`, async (t) => {
      const { folder, cache } = fresh(client)
      const seen: string[] = []
      const manager = await serve(t, (request, response) => {
        // What anybody on the node could read at this moment.
        for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
          for (const file of ['cmdline', 'environ'])
            try {
              const text = readFileSync(`/proc/${pid}/${file}`, 'latin1')
              if (text.includes(folder) && text.includes(TOKEN)) seen.push(text)
            } catch {
              // It has ended since.
            }
        sendRuntime(request, response)
      })
      const settings = remote(cache, manager)
      const { code, output } = await bootPilot({
        folder,
        settings,
        env: { PATH: pathWithout(folder, missing) },
      }).done
      assert.equal(code, 0, output)
      assert.deepEqual(seen, [])
      assert.doesNotMatch(output, new RegExp(TOKEN))
      const left = execFileSync('grep', ['-rl', TOKEN, folder], { encoding: 'utf8' }).trim().split('\n')
      assert.deepEqual(left, [join(folder, 'tokens', 'p7.token')])
    })

  for (const [what, asked] of Object.entries({ 'has zstd': 'zstd', 'has no zstd': 'gzip' }))
    test(`asks for the archive that it can unpack fastest: ${what}`, async (t) => {
      const { folder, cache } = fresh(asked)
      const urls: (string | undefined)[] = []
      const manager = await serve(t, (request, response) => {
        urls.push(request.url)
        response.end(readFileSync(runtime.path))
      })
      const bin = pathWithout(folder, 'zstd')
      // A stand-in, as not every machine has it: its archive is gzipped, too.
      if (asked === 'zstd') writeFileSync(join(bin, 'zstd'), '#!/bin/sh\nexec gzip "$@"\n', { mode: 0o755 })
      const gzip = createHash('sha256').update('gzipped').digest('hex')
      const sums =
        asked === 'zstd'
          ? { GLEANER_RUNTIME_SHA256: gzip, GLEANER_RUNTIME_ZSTD_SHA256: runtime.sha256 }
          : { GLEANER_RUNTIME_ZSTD_SHA256: gzip }
      const settings = { ...remote(cache, manager), ...sums }
      const { code, output } = await bootPilot({ folder, settings, env: { PATH: bin } }).done
      assert.equal(code, 0, output)
      assert.deepEqual(urls, [`/v1/runtime/${runtime.sha256}`])
      assert.deepEqual(readdirSync(join(cache, 'runtime')), [settings.GLEANER_RUNTIME_SHA256])
    })

  test('keeps trying while the manager is away, at each of its addresses', async (t) => {
    const { folder, cache } = fresh('retry')
    let requests = 0
    const manager = await serve(t, (request, response) => {
      requests++
      if (requests < 3) response.writeHead(503).end()
      else sendRuntime(request, response)
    })
    const settings = remote(cache, `http://127.0.0.1:9 ${manager}`)
    const { code, output } = await bootPilot({ folder, settings, env: impatient(folder) }).done
    assert.equal(code, 0, output)
    assert.equal(requests, 3)
  })

  test('ten pilots on one node fetch the runtime once', async (t) => {
    const { folder, cache } = fresh('ten')
    let requests = 0
    const manager = await serve(t, (request, response) => {
      requests++
      sendRuntime(request, response)
    })
    const pilots = Array.from({ length: 10 }, (_, i) =>
      bootPilot({
        folder: join(folder, String(i)),
        settings: remote(cache, manager),
        env: impatient(folder),
      }),
    )
    const ends = await Promise.all(pilots.map(({ done }) => done))
    assert.deepEqual(
      ends.map(({ code }) => code),
      Array(10).fill(0),
      ends.map(({ output }) => output).join('\n'),
    )
    assert.equal(requests, 1)
    assert.deepEqual(readdirSync(join(cache, 'runtime')), [runtime.sha256])
  })

  test('takes over from a pilot that was killed while it fetched the runtime', async (t) => {
    const { folder, cache } = fresh('stale')
    const manager = await serve(t, (_, response) => void response.writeHead(200).write('x'))
    const { child, done } = bootPilot({
      folder,
      settings: remote(cache, manager),
      env: impatient(folder),
    })
    await eventually('the pilot has the lock', () =>
      existsSync(join(cache, 'runtime', `${runtime.sha256}.lock`, 'owner')),
    )
    child.kill('SIGKILL')
    child.stdout.destroy()
    child.stderr.destroy()
    await done
    const next = bootPilot({ folder: join(folder, 'next'), settings: shared(cache), env: impatient(folder) })
    const { code, output } = await next.done
    assert.equal(code, 0, output)
  })

  const slow: Record<string, { missing: string[]; send: (response: ServerResponse) => void }> = {
    'curl, and nothing has come yet': { missing: ['wget'], send: () => {} },
    'wget, and nothing has come yet': { missing: ['curl'], send: () => {} },
    'curl, and half has come': { missing: ['wget'], send: sendHalf },
    'wget, and half has come': { missing: ['curl'], send: sendHalf },
    'curl on a filesystem without pipes': { missing: ['mkfifo'], send: sendHalf },
  }
  for (const [how, { missing, send }] of Object.entries(slow))
    test(`leaves nothing behind and says so when it is evicted while it fetches with ${how}`, async (t) => {
      const { folder, cache } = fresh('evicted')
      const { promise: asked, resolve } = Promise.withResolvers<void>()
      const manager = await serve(t, (_, response) => {
        send(response)
        resolve()
      })
      const env = { PATH: pathWithout(folder, ...missing) }
      const { child, done } = bootPilot({ folder, settings: remote(cache, manager), env })
      await asked
      child.kill('SIGTERM')
      // Resolves once no process has its output open any more.
      const { code, output } = await done
      assert.equal(code, 143)
      assert.match(output, /^gleaner: p7 on \S+: error 143 evicted: /m)
      assert.deepEqual(readdirSync(join(cache, 'runtime')), [])
    })

  const halves: Record<string, { command: string; when: string }> = {
    'makes its lock': { command: 'mkdir', when: '*.lock' },
    'asks who it is': { command: 'id', when: '-u' },
  }
  for (const [what, { command, when }] of Object.entries(halves))
    for (const shell of ['/bin/dash', '/bin/bash'])
      test(`leaves nothing behind and says so when it is evicted while it ${what} under ${shell}`, async () => {
        const { folder, cache } = fresh('half')
        const bin = pathWithout(folder, command)
        const evicting = `#!/bin/sh\n/bin/${command} "$@"\ncase "$*" in ${when}) kill -TERM $PPID ;; esac\n`
        writeFileSync(join(bin, command), evicting, { mode: 0o755 })
        const { code, output } = await bootPilot({
          folder,
          settings: shared(cache),
          env: { PATH: bin },
          shell,
        }).done
        assert.match(output, /^gleaner: p7 on \S+: error 143 evicted: /m)
        assert.equal(code, 143)
        assert.deepEqual(existsSync(cache) ? readdirSync(join(cache, 'runtime')) : [], [])
      })

  test('begins anew when a download breaks off', async (t) => {
    const { folder, cache } = fresh('broken')
    let requests = 0
    const manager = await serve(t, (request, response) => {
      requests++
      if (requests > 1) return sendRuntime(request, response)
      response.setHeader('content-length', readFileSync(runtime.path).length)
      sendHalf(response, () => response.destroy())
    })
    const { code, output } = await bootPilot({
      folder,
      settings: remote(cache, manager),
      env: impatient(folder),
    }).done
    assert.equal(code, 0, output)
    assert.equal(requests, 2)
    assert.deepEqual(readdirSync(join(cache, 'runtime')), [runtime.sha256])
  })

  test('does without pipes where the filesystem has none', async (t) => {
    const { folder, cache } = fresh('pipeless')
    const manager = await serve(t, sendRuntime)
    const env = { PATH: pathWithout(folder, 'mkfifo') }
    const { code, output } = await bootPilot({ folder, settings: remote(cache, manager), env }).done
    assert.equal(code, 0, output)
  })

  test('prefers the manager to a shared archive that is damaged', async (t) => {
    const { folder, cache } = fresh('damaged')
    const manager = await serve(t, sendRuntime)
    const damaged = join(folder, 'damaged.tar.gz')
    writeFileSync(damaged, 'not what it was')
    const settings = { ...remote(cache, manager), GLEANER_RUNTIME_FILE: damaged }
    const { code, output } = await bootPilot({ folder, settings }).done
    assert.equal(code, 0, output)
  })

  const failures: {
    name: string
    error: string
    boot: (
      place: { folder: string; cache: string },
      t: TestContext,
    ) => Promise<Parameters<typeof bootPilot>[0]>
  }[] = [
    {
      name: 'the manager sends something else',
      error: '65 bad-hash',
      boot: async ({ folder, cache }, t) => {
        const other = { ...runtime, sha256: createHash('sha256').update('other').digest('hex') }
        const manager = await serve(t, (_, response) => response.end(readFileSync(runtime.path)))
        return { folder, settings: remote(cache, manager, other) }
      },
    },
    {
      name: 'the manager sends something else, on a filesystem without pipes',
      error: '65 bad-hash',
      boot: async ({ folder, cache }, t) => {
        const other = { ...runtime, sha256: createHash('sha256').update('other').digest('hex') }
        const manager = await serve(t, (_, response) => response.end(readFileSync(runtime.path)))
        const env = { PATH: pathWithout(folder, 'mkfifo') }
        return { folder, settings: remote(cache, manager, other), env }
      },
    },
    {
      name: 'the manager sends the runtime with a byte changed',
      error: '65 bad-hash',
      boot: async ({ folder, cache }, t) => {
        const bytes = readFileSync(runtime.path)
        bytes[bytes.length >> 1]! ^= 1
        const manager = await serve(t, (_, response) => response.end(bytes))
        return { folder, settings: remote(cache, manager) }
      },
    },
    {
      name: 'the manager sends half the runtime as if it were all',
      error: '65 bad-hash',
      boot: async ({ folder, cache }, t) => {
        const manager = await serve(t, (_, response) => sendHalf(response, () => response.end()))
        return { folder, settings: remote(cache, manager) }
      },
    },
    {
      name: 'there is no token',
      error: '66 no-token',
      boot: ({ folder, cache }) =>
        Promise.resolve({ folder, settings: shared(cache), setup: `rm ${folder}/tokens/p7.token` }),
    },
    {
      name: 'the node has neither curl nor wget',
      error: '67 no-downloader',
      boot: ({ folder, cache }) =>
        Promise.resolve({
          folder,
          settings: remote(cache, 'http://127.0.0.1:9'),
          env: { PATH: pathWithout(folder, 'curl', 'wget') },
        }),
    },
    {
      name: 'the cache folder cannot be made',
      error: '68 no-space',
      boot: ({ folder }) => Promise.resolve({ folder, settings: shared('/proc/no/cache') }),
    },
    {
      name: 'the runtime does not fit',
      error: '68 no-space',
      boot: ({ folder, cache }) =>
        Promise.resolve({ folder, settings: { ...shared(cache) }, setup: 'ulimit -f 0\ntrap "" XFSZ\n' }),
    },
    {
      name: 'the manager stays away',
      error: '69 unreachable',
      boot: ({ folder, cache }) =>
        Promise.resolve({ folder, settings: remote(cache, 'http://127.0.0.1:9'), env: impatient(folder) }),
    },
    {
      name: 'the manager does not know the pilot',
      error: '70 refused',
      boot: async ({ folder, cache }, t) => {
        const manager = await serve(t, (_, response) => response.writeHead(401).end())
        return { folder, settings: remote(cache, manager) }
      },
    },
    {
      name: "the node's C library is too old",
      error: '71 unusable-node',
      boot: async ({ folder, cache }) => {
        const node = '#!/bin/sh\necho "node: /lib/libc.so.6: version GLIBC_2.28 not found" >&2\nexit 1\n'
        return { folder, settings: shared(cache, await tinyRuntime(join(folder, 'runtime'), worker, node)) }
      },
    },
  ]
  for (const { name, error, boot } of failures)
    test(`says why it cannot go on when ${name}`, async (t) => {
      const place = fresh('failure')
      const { code, output } = await bootPilot(await boot(place, t)).done
      assert.match(output, new RegExp(`^gleaner: p7 on \\S+: error ${error}: .+$`, 'm'))
      assert.equal(code, parseInt(error))
      const runtimes = join(place.cache, 'runtime')
      if (!error.startsWith('71')) assert.deepEqual(existsSync(runtimes) ? readdirSync(runtimes) : [], [])
    })
})

/** A node whose clock flies: `sleep` returns soon. */
function impatient(folder: string): Record<string, string> {
  const bin = join(folder, 'impatient')
  if (!existsSync(bin)) {
    mkdirSync(bin)
    writeFileSync(join(bin, 'sleep'), '#!/bin/sh\nexec /bin/sleep 0.02\n', { mode: 0o755 })
  }
  return { PATH: `${bin}${delimiter}/usr/bin:/bin` }
}
