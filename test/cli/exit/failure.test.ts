import assert from 'node:assert/strict'
import { CommanderError } from 'commander'
import { open } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { ApiError, InputError, NotRunningError } from '../../../src/client/index.ts'
import { Interrupted, ReportedFailure, toFailure } from '../../../src/cli/exit/failure.ts'

const failureOf = async (work: Promise<unknown>) => toFailure(await work.catch((error: unknown) => error))

describe('what a command that failed says', () => {
  test('tells input that is wrong from everything else by its exit code', () => {
    assert.deepEqual(toFailure(new InputError('bad line')), {
      message: 'bad line [GLEANER_BAD_INPUT]',
      exitCode: 2,
    })
    assert.deepEqual(toFailure(new ApiError(404, 'GLEANER_NOT_FOUND', 'no such job')), {
      message: 'no such job [GLEANER_NOT_FOUND]',
      exitCode: 2,
    })
    assert.deepEqual(toFailure(new ApiError(507, 'another-version', 'full')), {
      message: 'full',
      exitCode: 1,
    })
    assert.deepEqual(toFailure(new NotRunningError('start one')), {
      message: 'start one [GLEANER_NOT_RUNNING]',
      exitCode: 1,
    })
    assert.deepEqual(toFailure(new Interrupted('stopped')), { message: 'stopped', exitCode: 130 })
    assert.equal(toFailure(new CommanderError(0, 'commander.help', '')).exitCode, 0)
    assert.equal(toFailure(new CommanderError(1, 'commander.unknownOption', '')).exitCode, 2)
  })

  test('is wrong input where the user has named a file that is not there, and not where the system has lost one', async () => {
    const missing = open('/nonexistent/tasks.jsonl').catch((error: unknown) => error)
    assert.deepEqual(toFailure(await missing, ['run', '/nonexistent/tasks.jsonl']), {
      message: '/nonexistent/tasks.jsonl: no such file or folder [GLEANER_BAD_INPUT]',
      exitCode: 2,
    })
    assert.equal(toFailure(await missing, ['status']).exitCode, 1)
  })

  test('is what another process said of its own failure, with its code once', () => {
    const failure = { message: 'the port is in use [GLEANER_BAD_INPUT]', exitCode: 2 }
    assert.deepEqual(toFailure(new ReportedFailure(failure)), failure)
  })

  test('is one line, whatever the error holds', () => {
    assert.equal(toFailure(new Error('one\ntwo\x1b[31m\r')).message, 'one two [31m')
    assert.equal(toFailure('thrown text').message, 'thrown text')
  })

  test('explains what the system says', async () => {
    const missing = await failureOf(open('/no/such/file'))
    assert.equal(missing.message, '/no/such/file: no such file or folder')
    const full = await open('/dev/full', 'w')
    assert.match((await failureOf(full.write('x'))).message, /^the disk is full: free some space/)
    await full.close()

    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const taken = await failureOf(once(createServer().listen(port, '127.0.0.1'), 'listening'))
    assert.match(taken.message, new RegExp(`^127.0.0.1:${port}: the address is in use`))
    server.close()
  })
})
