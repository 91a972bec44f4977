import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readContextYaml } from '../../src/manager/services/contexts/context-yaml.ts'
import { fakeManager, type FakeManager } from '../client/fake-manager.ts'
import { factory, start, type Ended } from './cli.ts'

interface Setup extends AsyncDisposable {
  manager: FakeManager
  folder: string
  run: (...args: string[]) => Promise<Ended>
}

async function setup(): Promise<Setup> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-cli-'))
  const manager = await fakeManager()
  await writeFile(join(folder, 'claims.jsonl'), '{"id":"a","label":"yes"}\n{"id":"b","label":"no"}\n')
  return {
    manager,
    folder,
    run: (...args) => factory(args, { state: manager.state, cwd: folder }),
    async [Symbol.asyncDispose]() {
      await manager[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

const RUN = ['run', 'claims.jsonl', '--context', 'echo', '--out', 'results.jsonl']
const oneLine = /^factory: [^\n]+\n$/

describe('factory run', () => {
  test('writes the results and says how it went', async () => {
    await using here = await setup()
    here.manager.run = () => ({ status: 'done', value: { label: 'yes' } })
    const { code, stdout } = await here.run(
      ...RUN,
      '--expect',
      'label',
      '--time-limit',
      '1.5',
      '--retries',
      '2',
    )
    assert.equal(code, 0)
    assert.match(stdout, /^2 done, 0 failed \(2 in .*\/s\)\naccuracy 0\.500\nresults results\.jsonl\n$/)
    assert.equal((await readFile(join(here.folder, 'results.jsonl'), 'utf8')).split('\n').length, 3)

    const again = await here.run(...RUN)
    assert.deepEqual([again.code, again.stdout], [0, '2 done, 0 failed\nresults results.jsonl\n'])
  })

  test('exits with 1 if a task failed', async () => {
    await using here = await setup()
    here.manager.run = () => ({ status: 'error', error: { name: 'Error', message: 'boom' } })
    const { code, stdout, stderr } = await here.run(...RUN)
    assert.equal(code, 1)
    assert.match(stdout, /^0 done, 2 failed/)
    assert.match(stderr, /results\.errors\.jsonl says why, task by task/)
  })

  test('names the line that is no task, or leaves it out and says so', async () => {
    await using here = await setup()
    await writeFile(join(here.folder, 'claims.jsonl'), '{"id":"a"}\n{"id":\n')
    const refused = await here.run(...RUN)
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, oneLine)
    assert.match(refused.stderr, /claims\.jsonl: line 2 is not JSON/)
    const skipped = await here.run(...RUN, '--skip-invalid')
    assert.equal(skipped.code, 0)
    assert.match(skipped.stderr, /left out 1 line that is no task: line 2 is not JSON/)
  })

  test('says that the job goes on when it is interrupted, and how to get at it', async () => {
    await using here = await setup()
    here.manager.run = () => 'held'
    const { child, ended } = start(RUN, { state: here.manager.state, cwd: here.folder })
    const waiting = Promise.withResolvers<void>()
    here.manager.before = (request) => {
      if (request.url?.includes('/results')) waiting.resolve()
      return false
    }
    await waiting.promise
    child.kill('SIGINT')
    const { code, stderr } = await ended
    assert.equal(code, 130)
    assert.match(
      stderr,
      /factory: interrupted: job 1 goes on\. The same command .* "factory cancel 1" ends it\n$/,
    )
  })

  const refusals: [string, string[], RegExp][] = [
    [
      'an unknown context',
      ['run', 'claims.jsonl', '--context', 'ecco', '--out', 'o'],
      /no context ecco: .* knows echo/,
    ],
    [
      'a missing file',
      ['run', 'clams.jsonl', '--context', 'echo', '--out', 'o'],
      /clams\.jsonl: no such file/,
    ],
    [
      'a missing folder',
      ['run', 'claims.jsonl', '--context', 'echo', '--out', 'no/o'],
      /\/no: no such file or folder/,
    ],
    [
      'what cannot be read twice',
      ['run', '/dev/stdin', '--context', 'echo', '--out', 'o'],
      /\/dev\/stdin is not a file, and a run reads its input more than once: pipe it in as -/,
    ],
    [
      'a folder as input',
      ['run', '.', '--context', 'echo', '--out', 'o'],
      /^factory: \. is a folder: name the files in it/,
    ],
    [
      'a run without a context',
      ['run', 'claims.jsonl'],
      /name a context with --context, or a model folder with --model/,
    ],
    [
      'settings of a model for a context',
      ['run', 'claims.jsonl', '--context', 'echo', '--max-tokens', '3'],
      /--max-tokens goes with --model/,
    ],
  ]
  for (const [what, args, message] of refusals) {
    test(`refuses ${what} in one line`, async () => {
      await using here = await setup()
      const { code, stderr } = await here.run(...args)
      assert.notEqual(code, 0)
      assert.match(stderr, oneLine)
      assert.match(stderr, message)
      assert.equal(here.manager.jobs.length, 0)
    })
  }
})

describe('other commands', () => {
  test('show and cancel jobs, list contexts, print the status for people and for programs', async () => {
    await using here = await setup()
    await here.run(...RUN, '--name', 'mine')
    assert.match(
      (await here.run('jobs')).stdout,
      /^1 +mine +echo +finished +2 +0 +2 +19[67]\d-\d\d-\d\d \d\d:\d\d$/m,
    )
    assert.match(
      (await here.run('cancel', 'mine')).stdout,
      /^job 1 had ended already: 2 of 2 tasks have results\n$/,
    )
    await here.run(...RUN, '--name', 'mine', '--restart')
    assert.match((await here.run('forget', 'mine')).stdout, /^job 2 is forgotten, with 2 tasks\n$/)
    assert.match((await here.run('forget', 'mine')).stdout, /^job 1 is forgotten, with 2 tasks\n$/)
    assert.match((await here.run('forget', 'mine')).stderr, /^factory: there is no job mine: /)
    assert.match((await here.run('context', 'list')).stdout, /^echo +module +echo, shout +aaaaaaaaaaaa$/m)
    assert.match((await here.run('status')).stdout, /^tasks: 0 queued, 0 running, 0 done, 0 failed/m)
    const { stdout } = await here.run('status', '--json')
    assert.equal((JSON.parse(stdout) as { version: string }).version, '0.0.0')
  })

  test('warm and drop contexts', async () => {
    await using here = await setup()
    assert.match((await here.run('context', 'warm', 'echo')).stdout, /^echo is fetched ahead by workers/)
    assert.match((await here.run('context', 'drop', 'echo')).stdout, /^echo is let go of by all workers/)
    assert.deepEqual(here.manager.requests, ['POST /v1/contexts/echo/warm', 'POST /v1/contexts/echo/drop'])
  })

  test('find no factory in one line', async () => {
    await using here = await setup()
    await rm(join(here.manager.state, 'endpoint.json'))
    for (const command of [['status'], ['jobs'], ['stop'], ['context', 'list'], RUN]) {
      const { code, stderr } = await here.run(...command)
      assert.equal(code, 1)
      assert.match(
        stderr,
        /^factory: no factory is running on .*: start one with "factory start" \[GLEANER_NOT_RUNNING\]\n$/,
      )
    }
  })

  test('suggest the name that was meant', async () => {
    await using here = await setup()
    const command = await here.run('statsu')
    assert.deepEqual([command.code, command.stdout], [2, ''])
    assert.match(command.stderr, /unknown command 'statsu'\n\(Did you mean status\?\)/)
    const option = await here.run('status', '--jsn')
    assert.equal(option.code, 2)
    assert.match(option.stderr, /unknown option '--jsn'\n\(Did you mean --json\?\)/)
    const value = await here.run(...RUN, '--retries', 'many')
    assert.equal(value.code, 2)
    assert.match(value.stderr, /It must be a whole number from 0 to 100\.\n\(factory run --help says how/)
    const dry = await here.run('submit', 'somewhere')
    assert.deepEqual([dry.code, /--dry-run shows what/.test(dry.stderr)], [2, true])
    const name = await here.run('bundle', 'create', 'claims.jsonl', '--name', 'a b')
    assert.equal(name.code, 2)
    assert.match(name.stderr, /^factory: --name a b: use letters, digits, [^\n]+\n$/)
  })

  test('print version and help', async () => {
    await using here = await setup()
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string }
    assert.equal((await here.run('--version')).stdout, `${version}\n`)
    const help = await here.run('--help')
    assert.equal(help.code, 0)
    for (const name of [
      'init',
      'start',
      'run',
      'status',
      'stop',
      'jobs',
      'cancel',
      'forget',
      'context',
      'bundle',
      'submit',
    ]) {
      assert.match(help.stdout, new RegExp(`^  ${name}\\b`, 'm'))
    }
  })
})

test('factory python makes no wheel where others could change what pip then runs', async () => {
  const cache = await mkdtemp(join(tmpdir(), 'gleaner-cache-'))
  await chmod(cache, 0o777)
  const { code, stdout, stderr } = await factory(['python'], {
    state: '/nonexistent',
    env: { XDG_CACHE_HOME: cache },
  })
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(stderr, /can be written by all users/)
  await rm(cache, { recursive: true })
})

test('a command that is not there has no help, and fails', async () => {
  await using here = await setup()
  for (const args of [
    ['nonsense', '--help'],
    ['context', 'nonsense', '-h'],
  ]) {
    const { code, stdout, stderr } = await here.run(...args)
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /unknown command 'nonsense'/)
  }
})

describe('factory context create', () => {
  const model = fileURLToPath(new URL('../../templates/fact-verification/model', import.meta.url))

  test('writes a context.yaml that the manager reads, and does not overwrite another', async () => {
    await using here = await setup()
    const made = await here.run('context', 'create', 'facts', '--model', model, '--set', 'topP=0.9')
    assert.equal(made.code, 0, made.stderr)
    assert.match(made.stdout, /built-in engine.*factory context add facts\/context\.yaml/s)
    const file = join(here.folder, 'facts', 'context.yaml')
    const { head, spec } = await readContextYaml(file)
    assert.deepEqual([head.name, head.bundles.model], ['facts', model])
    assert.equal((spec.functions.answer as { topP?: number }).topP, 0.9)
    const again = await here.run('context', 'create', 'facts', '--model', model)
    assert.deepEqual([again.code, oneLine.test(again.stderr)], [2, true], again.stderr)
    assert.match(again.stderr, /is there already/)
  })

  test('says in one line what it has found instead of a model, or which setting there is not', async () => {
    await using here = await setup()
    const none = await here.run('context', 'create', 'facts', '--model', here.folder)
    assert.equal(none.code, 2)
    assert.match(
      none.stderr,
      /^factory: [^\n]*no weights[^\n]*It has: claims\.jsonl \[GLEANER_BAD_INPUT\]\n$/,
    )
    const set = await here.run('context', 'create', 'facts', '--model', model, '--set', 'top_p=1')
    assert.match(set.stderr, /^factory: --set top_p: is no setting of this function/)
  })
})
