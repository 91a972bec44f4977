import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { candidatesFor } from '../../../src/cli/completion/candidates.ts'
import { scripts, SHELLS } from '../../../src/cli/completion/scripts.ts'
import { createProgram } from '../../../src/cli/program.ts'
import { fakeManager } from '../../client/fake-manager.ts'

const program = await createProgram()
const candidates = (...words: string[]) => candidatesFor(program, words)

describe('what may come next on a command line', () => {
  test('is a command and its options at first, and what the command takes after it', () => {
    const { words, files } = candidates()
    for (const word of ['run', 'status', 'doctor', 'completion', '--state'])
      assert.ok(words.includes(word), word)
    assert.ok(!words.includes('complete'), 'what only scripts call is not offered')
    assert.equal(files, false)
    assert.ok(candidates('sites').words.includes('pause'))
    assert.deepEqual(candidates('completion').words.slice(0, 3), ['bash', 'zsh', 'fish'])
  })

  test('is a job, a site or a context by name, or a file, where one is called for', () => {
    assert.deepEqual(candidates('cancel').known, ['jobs'])
    assert.deepEqual(candidates('explain').known, ['jobs', 'sites'])
    assert.deepEqual(candidates('sites', 'pause').known, ['sites'])
    assert.deepEqual(candidates('run', 'x.jsonl', '--context').known, ['contexts'])
    assert.equal(candidates('run').files, true)
    assert.equal(candidates('run', 'x.jsonl', '--out').files, true)
    assert.deepEqual(candidates('--state', 'f', 'cancel').known, ['jobs'])
  })

  test('is no option behind --, and no command behind an operand', () => {
    assert.ok(candidates('cancel', '--').words.every((word) => !word.startsWith('-')))
    assert.ok(!candidates('cancel', '3').words.includes('status'))
  })
})

describe('the completion of a shell', () => {
  for (const shell of SHELLS) {
    test(`is a script that ${shell} can read, if it is there`, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), 'gleaner-completion-'))
      t.after(() => rm(folder, { recursive: true }))
      await writeFile(join(folder, 'script'), scripts[shell])
      const { status, stderr, error } = spawnSync(shell, ['-n', join(folder, 'script')], { encoding: 'utf8' })
      if (error) return t.diagnostic(`there is no ${shell} here`)
      assert.equal(status, 0, stderr)
    })
  }

  test('offers commands, options, names of jobs and files in a real bash', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gleaner-completion-'))
    await using manager = await fakeManager()
    await using _gone = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
    await symlink(fileURLToPath(new URL('../../../bin/factory.js', import.meta.url)), join(folder, 'factory'))
    await writeFile(join(folder, 'claims one.jsonl'), '{}\n')
    await writeFile(join(folder, 'completion.bash'), scripts.bash)
    const complete = async (...words: string[]) => {
      const script = `
        cd ${folder}; PATH=${folder}:${join(process.execPath, '..')}:$PATH; source ./completion.bash
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _factory; printf '%s\\n' "\${COMPREPLY[@]}"`
      const env = { ...process.env, GLEANER_STATE: manager.state }
      const { stdout } = await promisify(execFile)('bash', ['-c', script, 'bash', ...words], { env })
      return stdout.split('\n').filter(Boolean)
    }
    assert.deepEqual(await complete('factory', 'st'), ['start', 'status', 'stop'])
    assert.deepEqual(await complete('factory', 'run', 'clai'), ['claims one.jsonl'])
    assert.deepEqual(await complete('factory', 'run', 'x', '--context', 'ec'), ['echo'])
  })
})
