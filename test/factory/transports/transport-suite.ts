import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Transport, TransportError } from '../../../src/factory/transports/transport.ts'
import { eventually } from '../support/eventually.ts'

export type Harness = {
  transport: Transport
  /** An empty folder of this test's own, which both ends see, as on one machine. */
  folder: string
}

const patient = () => AbortSignal.timeout(180_000)

/** What any transport must do, whatever lies between the factory and the batch system. */
export function describeTransport(name: string, harness: () => Harness): void {
  const run = (command: string[], cwd?: string) =>
    harness().transport.run(command, { ...(cwd !== undefined && { cwd }), signal: patient() })

  describe(`the transport ${name}`, () => {
    test('gives commands their arguments as they are, and answers with what they said and their exit code', async () => {
      const script = 'printf "%s|" "$@"; echo trouble >&2; exit 3'
      const args = [
        '$HOME',
        'a  b',
        '',
        "it's",
        '"',
        '\\',
        '*',
        '!!',
        'two\nlines\n',
        '~',
        'für 平和',
        '-n',
        '%s\\n',
        '`id`',
        ';',
      ]
      const answer = await run(['/bin/sh', '-c', script, 'sh', ...args])
      assert.deepEqual(answer, {
        code: 3,
        stdout: args.map((arg) => `${arg}|`).join(''),
        stderr: 'trouble\n',
      })
    })

    test('runs a command in the folder that it is told, whatever its name', async () => {
      const folder = join(harness().folder, "it's a $HOME\nof its own")
      await mkdir(folder)
      assert.equal((await run(['/bin/pwd'], folder)).stdout, `${folder}\n`)
    })

    test('answers exactly what a command said, without an end of line that it did not say', async () => {
      assert.deepEqual(await run(['/bin/true']), { code: 0, stdout: '', stderr: '' })
      const said = await run(['printf', '\\n%s', 'end'])
      assert.equal(said.stdout, '\nend')
      const large = await run(['/bin/sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" x; exit 7'])
      assert.deepEqual([large.stdout.length, large.code], [3_000_000, 7])
    })

    test('gives commands nothing to read, so that none waits for an answer', async () => {
      assert.deepEqual(await run(['cat']), { code: 0, stdout: '', stderr: '' })
    })

    test('gives up a command that takes too long, with all that it started', async () => {
      const pidFile = join(harness().folder, 'pid')
      const script = 'sleep 1000 & echo $! >"$1.new"; mv "$1.new" "$1"; wait'
      const giveUp = new AbortController()
      const command = ['/bin/sh', '-c', script, 'sh', pidFile]
      const running = harness().transport.run(command, { signal: giveUp.signal })
      await eventually('it runs', () => existsSync(pidFile))
      const pid = (await readFile(pidFile, 'utf8')).trim()
      giveUp.abort()
      await assert.rejects(
        running,
        (error) => error instanceof TransportError && /took too long/.test(error.message),
      )
      // Gone, or a zombie that nothing waits for.
      const state = () => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '1 (sleep) Z')
      await eventually('the child is gone', async () => (await state()).includes(') Z'))
    })

    test('says so when a command says more than fits', async () => {
      await assert.rejects(run(['/bin/sh', '-c', 'head -c 40000000 /dev/zero']), /more than fits/)
    })

    test('has a folder with all that is in it where the batch system sees it, and copies it again without harm', async () => {
      const { transport, folder } = harness()
      const from = join(folder, 'sub mission')
      await mkdir(join(from, 'logs'), { recursive: true, mode: 0o700 })
      await mkdir(join(from, 'tokens'), { mode: 0o700 })
      await writeFile(join(from, 'tokens', 'p1.token'), 'secret\n', { mode: 0o600 })
      await writeFile(join(from, 'pilot.sh'), '#!/bin/sh\n')
      await chmod(join(from, 'pilot.sh'), 0o700)
      await symlink('p1.log', join(from, 'logs', '0.out'))
      const to = await transport.files.folderFor(from, patient())
      await transport.files.copy(from, to, patient())
      await transport.files.copy(from, to, patient())
      assert.equal(await readFile(join(to, 'tokens', 'p1.token'), 'utf8'), 'secret\n')
      assert.equal(await readlink(join(to, 'logs', '0.out')), 'p1.log')
      const mode = async (name: string) => (await stat(join(to, name))).mode & 0o777
      assert.deepEqual(await Promise.all(['', 'logs', 'tokens', 'tokens/p1.token', 'pilot.sh'].map(mode)), [
        0o700, 0o700, 0o700, 0o600, 0o700,
      ]) // prettier-ignore
      await transport.files.remove(to, patient())
      assert.equal(existsSync(to), false)
      await transport.files.remove(to, patient())
    })

    test('gives the end of a file, and nothing where there is none', async () => {
      const { transport, folder } = harness()
      const file = join(folder, "p1's log")
      await writeFile(file, 'first\nlast\n')
      assert.equal(await transport.files.tail(file, 5, patient()), 'last\n')
      assert.equal(await transport.files.tail(file, 4096, patient()), 'first\nlast\n')
      assert.equal(await transport.files.tail(join(folder, 'none'), 5, patient()), '')
    })

    test('delivers a large file as it is, and a second time without sending it', async () => {
      const { transport, folder } = harness()
      const path = join(folder, 'runtime.tar.gz')
      const content = Buffer.alloc(1_000_000, 'runtime ')
      await writeFile(path, content)
      const file = { path, sha256: createHash('sha256').update(content).digest('hex') }
      const delivered = await transport.files.deliver(file, patient())
      assert.ok(content.equals(await readFile(delivered)))
      const { mtimeMs, ino } = await stat(delivered)
      assert.equal(await transport.files.deliver(file, patient()), delivered)
      assert.equal((await stat(delivered)).ino, ino)
      assert.ok((await stat(delivered)).mtimeMs >= mtimeMs)
    })
  })
}
