import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { shellTransport } from '../../src/factory/transports/shell.ts'
import { TransportError } from '../../src/factory/transports/transport.ts'
import { eventually } from './support/eventually.ts'

const transport = shellTransport()
const patient = () => AbortSignal.timeout(20_000)

describe('the commands of a batch system', () => {
  test('get their arguments as they are, and answer with an exit code', async () => {
    const script = 'printf "%s|" "$@"; echo trouble >&2; exit 3'
    const answer = await transport.run(['/bin/sh', '-c', script, 'sh', '$HOME', 'a b'], { signal: patient() })
    assert.deepEqual(answer, { code: 3, stdout: '$HOME|a b|', stderr: 'trouble\n' })
  })

  test('are given up with all they started, so that a wrapper’s child does not hold up the site', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gleaner-transport-'))
    t.after(() => rm(folder, { recursive: true }))
    const pidFile = join(folder, 'pid')
    const script = 'sleep 1000 & echo $! >"$1.new"; mv "$1.new" "$1"; wait'
    const giveUp = new AbortController()
    const run = transport.run(['/bin/sh', '-c', script, 'sh', pidFile], { signal: giveUp.signal })
    await eventually('the child runs', () => existsSync(pidFile))
    const pid = (await readFile(pidFile, 'utf8')).trim()
    giveUp.abort()
    await assert.rejects(run, new TransportError('/bin/sh took too long and was ended'))
    // Gone, or a zombie that nobody waits for.
    const state = () => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '1 (sleep) Z')
    await eventually('the child is gone', async () => (await state()).includes(') Z'))
  })

  test('that are not there are an error of the transport', async () => {
    await assert.rejects(
      transport.run(['no-such-command-here'], { signal: patient() }),
      /^TransportError: no-such-command-here cannot be run: /,
    )
  })
})
