import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { isAlive } from '../pilot/support/pilot-process.ts'
import { until } from '../support/until.ts'
import { shellStage, type ShellStage } from './support/shell-stage.ts'

describe('a shell in a pilot', () => {
  let stage: ShellStage
  let pilot: { name: string; worker: Awaited<ReturnType<ShellStage['pilot']>>['worker'] }
  before(async () => {
    stage = await shellStage()
    pilot = await stage.pilot({ GLEANER_SHELL: 'yes', SHELL: '/bin/sh', HIDDEN_TOKEN: 'secret' })
  })
  after(() => stage[Symbol.asyncDispose]())

  test('runs one command, with its output and its errors apart, and its exit code passed on', async () => {
    const { code, stdout, stderr } = await stage.run(pilot.name, [
      'sh',
      '-c',
      'echo out; echo err >&2; exit 7',
    ])
    assert.deepEqual(
      { code, stdout: stdout.toString(), stderr },
      { code: 7, stdout: 'out\n', stderr: 'err\n' },
    )
  })

  test('gives a command what is piped in, and brings ten megabytes of any bytes back unchanged', async () => {
    const input = randomBytes(10 << 20)
    const { code, stdout, stderr } = await stage.run(pilot.name, ['cat'], input)
    assert.deepEqual({ code, stderr, same: stdout.equals(input) }, { code: 0, stderr: '', same: true })
  })

  test('does not show a command the secrets of its pilot', async () => {
    const { stdout } = await stage.run(pilot.name, ['env'])
    assert.match(stdout.toString(), /^PATH=/m)
    assert.doesNotMatch(stdout.toString(), /secret|GLEANER_/)
  })

  test('passes arguments as they are, and tells of a program that is not there', async () => {
    const odd = ['', ' ', '$HOME', '"\'', 'ü\n', '--', '-x']
    const { stdout } = await stage.run(pilot.name, ['printf', '<%s>', ...odd])
    assert.equal(stdout.toString(), odd.map((word) => `<${word}>`).join(''))
    const missing = await stage.run(pilot.name, ['no-such-program'])
    assert.deepEqual(
      { code: missing.code, stderr: missing.stderr },
      { code: 255, stderr: 'factory: there is no program no-such-program on this node [GLEANER_SHELL]\n' },
    )
  })

  test('lets Ctrl-C end a command that reads none of its input, and says by which signal', async () => {
    const child = stage.exec(pilot.name, 'sh', '-c', 'echo begun; exec sleep 1000')
    child.stdin!.on('error', () => {}).write(Buffer.alloc(4 << 20))
    let said = ''
    child.stderr!.on('data', (bytes: Buffer) => (said += bytes.toString()))
    await once(child.stdout!, 'data')
    child.kill('SIGINT')
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    assert.deepEqual({ code, signal, said }, { code: 130, signal: null, said: '' })
  })

  test('is a terminal: it echoes, knows its size and that it changes, hears Ctrl-C, and exits as its shell does', async () => {
    using terminal = stage.attach(pilot.name)
    await terminal.shows(/[$#] /)
    terminal.type('echo $((20 + 3))\r')
    await terminal.shows('echo $((20')
    await terminal.shows('23')
    terminal.type('stty size\r')
    await terminal.shows('25 81')
    terminal.resize(101, 33)
    terminal.type('while [ "$(stty size)" != "33 101" ]; do sleep 0.1; done; echo re"sized"\r')
    await terminal.shows('resized')
    terminal.type('echo beg"un"; sleep 1000\r')
    await terminal.shows('begun')
    terminal.type('\x03')
    await terminal.shows(/[$#] /)
    terminal.type('exit 7\r')
    assert.equal(await terminal.ended, 7)
  })

  test('in a terminal shows all that was written before it ended, however slow its reader', async () => {
    using terminal = stage.attach(pilot.name, 'sh', '-c', 'seq 1 200000; echo "the"" end"; exit 3')
    assert.equal(await terminal.ended, 3)
    assert.equal(terminal.screen.slice(-25), '199999\r\n200000\r\nthe end\r\n')
    assert.equal(terminal.screen.split('\r\n').length, 200_002)
  })

  test('is left by Enter, tilde, dot, and what ran in it is ended', async () => {
    using terminal = stage.attach(pilot.name)
    await terminal.shows(/[$#] /)
    const file = path.join(pilot.worker.folder, 'left')
    terminal.type(`sleep 1000 & echo $! >${file}; echo wr"itten"\r`)
    await terminal.shows('written')
    terminal.type('\r~.')
    assert.equal(await terminal.ended, 255)
    const pid = Number(await readFile(file, 'utf8'))
    await until(() => !isAlive(pid))
  })

  test('ends with the command of its user, however that ends', async () => {
    const child = stage.exec(pilot.name, 'sh', '-c', 'trap "" HUP; echo $$; while :; do sleep 1; done')
    const [text] = (await once(child.stdout!, 'data')) as [Buffer]
    child.kill('SIGKILL')
    await until(() => !isAlive(Number(text.toString())))
  })

  test('is opened for the worker, too, and is named in what is wrong', async () => {
    assert.equal((await stage.run('w1', ['true'])).code, 0)
    const none = await stage.run('p999', ['true'])
    assert.equal(none.code, 255)
    assert.match(none.stderr, /pilot p999 has no worker now/)
  })

  test('ends with its pilot, which tells its user', async () => {
    const doomed = await stage.pilot()
    const child = stage.exec(doomed.name, 'sh', '-c', 'echo $$; exec sleep 1000')
    let said = ''
    child.stderr!.on('data', (bytes: Buffer) => (said += bytes.toString()))
    const [text] = (await once(child.stdout!, 'data')) as [Buffer]
    doomed.worker.kill('SIGKILL')
    assert.deepEqual(await once(child, 'close'), [255, null])
    assert.match(said, /factory: the connection to the pilot broke|factory: the pilot has ended/)
    await until(() => !isAlive(Number(text.toString())))
  })

  test('without a terminal on the node says so, and commands run nevertheless', async () => {
    const hook = `import { registerHooks } from 'node:module'
      registerHooks({ resolve(name, context, next) {
        if (name === 'node-pty') throw new Error('GLIBC_2.28 not found')
        return next(name, context)
      } })`
    const old = await stage.pilot({
      GLEANER_SHELL: 'yes',
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hook)}`,
    })
    using terminal = stage.attach(old.name)
    assert.equal(await terminal.ended, 255)
    assert.match(
      terminal.screen,
      /this node cannot give a terminal: GLIBC_2.28 not found; "factory exec" needs none/,
    )
    assert.equal((await stage.run(old.name, ['true'])).code, 0)
  })
})

describe('a pilot without shells', () => {
  test('has none, although the manager wants one, when its own submission does not allow it', async () => {
    await using stage = await shellStage()
    const { name } = await stage.pilot({})
    const { code, stderr } = await stage.run(name, ['true'])
    assert.equal(code, 255)
    assert.match(stderr, /this pilot was submitted by a factory whose site did not allow shells/)
  })

  test('is not asked for one when its site does not allow it', async () => {
    await using stage = await shellStage(false)
    const { name, worker } = await stage.pilot()
    const { code, stderr } = await stage.run(name, ['true'])
    assert.equal(code, 255)
    assert.match(stderr, /site test does not allow shells: set shell: true/)
    assert.doesNotMatch(worker.log(), /a shell was opened/)
  })
})
