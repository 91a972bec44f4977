import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { bootPilot, settingsFor, workerEnvironment } from '../support/pilot-settings.ts'
import { tinyRuntime } from '../support/tiny-runtime.ts'

let root: string
let runtime: { path: string; sha256: string }

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'gleaner-setup-'))
  runtime = await tinyRuntime(join(root, 'runtime'), 'env\necho "options $-, open files $(ulimit -n)"\n')
})
after(() => rmSync(root, { recursive: true }))

type Given = { env?: Record<string, string>; setupShell?: string }

function boot(setup: string, { env, setupShell }: Given = {}) {
  const folder = mkdtempSync(join(root, 'pilot-'))
  const settings = {
    ...settingsFor(join(folder, 'cache'), runtime),
    ...(setupShell && { GLEANER_SETUP_SHELL: setupShell }),
  }
  return bootPilot({ folder, settings, setup, ...(env && { env }) })
}

/** How a pilot with this setup failed, in its last words. */
async function failure(setup: string, given: Given = {}) {
  const { code, output } = await boot(setup, given).done
  const [last] = output.trimEnd().split('\n').slice(-1)
  assert.match(last!, /^gleaner: p7 on \S+: error 73 setup-failed: /, output)
  assert.equal(code, 73)
  return last!.replace(/^.* setup-failed: /, '')
}

async function names(setup: string, given: Given = {}): Promise<string[]> {
  const { code, output } = await boot(setup, given).done
  assert.equal(code, 0, output)
  return workerEnvironment(output)['GLEANER_SETUP_NAMES']!.trim().split(' ')
}

/** A PATH without some of the usual commands. */
function pathWithout(...missing: string[]) {
  const bin = mkdtempSync(join(root, 'bin-'))
  mkdirSync(bin, { recursive: true })
  for (const name of readdirSync('/usr/bin'))
    if (!missing.includes(name)) symlinkSync(join('/usr/bin', name), join(bin, name))
  return { PATH: bin }
}

describe('the setup of a site', () => {
  test('has what bash has, and what it exports reaches the worker', async () => {
    const lines = '[[ -n $BASH_VERSION ]] && source /dev/stdin <<< "export KIND=bash"\nulimit -n 77\n'
    const { code, output } = await boot(lines).done
    assert.equal(code, 0, output)
    assert.match(output, /^KIND=bash$/m)
    assert.match(output, /open files 77$/m)
  })

  for (const setupShell of ['bash', 'sh'])
    test(`has environment modules in ${setupShell}, where the node has them`, async () => {
      const folder = mkdtempSync(join(root, 'modules-'))
      writeFileSync(join(folder, 'tool'), '#%Module\nprepend-path PATH /opt/tool/bin\nsetenv TOOL_TOKEN t\n')
      const lines = `module use ${folder}\nmodule load tool\n`
      const { code, output } = await boot(lines, { setupShell }).done
      assert.equal(code, 0, output)
      assert.match(output, /^PATH=\/opt\/tool\/bin:/m)
      assert.match(workerEnvironment(output)['GLEANER_SETUP_NAMES']!, /\bTOOL_TOKEN\b/)
    })

  test('ends with a module that is not there', async () => {
    assert.match(await failure('module load no-such-module\n'), /^line 1 \(module\) ended with exit code 1$/)
  })

  test('leaves its shell options behind, those in exported variables included', async () => {
    const lines = 'set -euf\nset -o pipefail\nset +o posix\nIFS=x\nexport SHELLOPTS BASHOPTS\nset -x\ntrue\n'
    const { code, output } = await boot(lines).done
    assert.equal(code, 0, output)
    assert.match(output, /^options [^efux]*, open files/m)
    assert.doesNotMatch(output, /^(SHELLOPTS|BASHOPTS)=/m)
  })

  test('that traces its commands shows none of the values of the environment in the log', async () => {
    const { output } = await boot('set -x\ntrue\n', { env: { SOME_TOKEN: 'leaked-value' } }).done
    const [traced] = output.split('worker', 1)
    assert.doesNotMatch(traced!.replace(/^SOME_TOKEN=.*$/m, ''), /leaked-value/)
  })

  test('that stops its shell is the end of the pilot, which says how', async () => {
    assert.equal(await failure('echo a\nexit 3\n'), 'it left its shell with exit code 3')
    assert.equal(await failure('exit 0\n'), 'it left its shell with exit code 0')
  })

  test('stops at its first line that fails, which is named without its arguments', async () => {
    assert.equal(
      await failure('true\nmodule-of-nowhere --password=secret\necho on\n'),
      'line 2 (module-of-nowhere) ended with exit code 127',
    )
    assert.equal(await failure('set -e\nfalse\ntrue\n'), 'line 2 (false) ended with exit code 1')
  })

  test('may hold conditions that are not met, functions that fail inside, and other files like that', async () => {
    const lines =
      'f() { false; true; }\nf\nif false; then :; fi\nfalse || true\nsource <(echo "false; true")\n[ -d /nowhere ] && export A=1\n'
    const { code, output } = await boot(lines).done
    assert.equal(code, 0, output)
  })

  test('that is no shell script is said not to have been read to its end', async () => {
    assert.match(
      await failure('if true; then\necho never\n'),
      /^it was not read to its end \(exit code \d+\)$/,
    )
  })

  test('may use the names that pilot.sh has for itself', async () => {
    const lines =
      'fail() { exit 9; }; env() { exit 9; }\nhere=/ pilot=x node=y started=z shell=q\nreadonly here\n'
    const { code, output } = await boot(lines).done
    assert.equal(code, 0, output)
    assert.equal(await failure(`${lines}fail`), 'it left its shell with exit code 9')
  })

  test('that sends its output elsewhere, or leaves no PATH, does not silence the pilot', async () => {
    assert.match((await boot('exec >/dev/null 2>&1\n').done).output, /job \d+, started 1 times/)
    assert.equal(
      await failure('export PATH=/nowhere\n'),
      "it left a PATH without the system's commands: /nowhere",
    )
  })

  test('is ended by a signal with the word that the pilot was told to leave', async () => {
    const { child, done } = boot('echo ready\nwhile true; do sleep 0.05; done\n')
    let said = ''
    while (!said.includes('ready')) said += String((await once(child.stdout, 'data'))[0])
    child.kill('SIGTERM')
    const { code, output } = await done
    assert.equal(code, 143)
    assert.match(output, /error 143 evicted: told to leave/)
  })

  test('tells which variables it has set, and not those that were there', async () => {
    const env = {
      LEAKED_TOKEN: 'a',
      CHANGED_TOKEN: 'b',
      KEPT_KEY: 'first\nsecond=2\n',
      NEW_KEY: 'first\nsecond',
    }
    const lines =
      "export HF_TOKEN=x CHANGED_TOKEN=y\nexport NEW_KEY=$'first\\nthird'\nf() { :; }; export -f f\n"
    const found = await names(lines, { env })
    for (const name of ['HF_TOKEN', 'CHANGED_TOKEN', 'NEW_KEY']) assert.ok(found.includes(name), name)
    for (const name of ['LEAKED_TOKEN', 'KEPT_KEY', 'PATH', 'second']) assert.ok(!found.includes(name), name)
  })

  test('runs in the shell that the site names, with its options', async () => {
    const { output } = await boot('export LOGIN=$(shopt -q login_shell && echo yes)\n', {
      setupShell: 'bash --login',
      env: { HOME: root },
    }).done
    assert.match(output, /^LOGIN=yes$/m)
    assert.match(
      await failure('true', { setupShell: 'zsh-of-nowhere' }),
      /^there is no zsh-of-nowhere on this node/,
    )
  })

  test('runs in sh on a node without bash, and says so; its last line counts there', async () => {
    const { code, output } = await boot('export KIND=${BASH_VERSION:-plain}\n', { env: pathWithout('bash') })
      .done
    assert.equal(code, 0, output)
    assert.match(output, /there is no bash on this node: setup runs in \/bin\/sh instead/)
    assert.match(output, /^KIND=plain$/m)
    assert.equal(
      await failure('command-of-nowhere\n', { env: pathWithout('bash') }),
      'its last line ended with exit code 127',
    )
    assert.equal(await failure('exit 4', { env: pathWithout('bash') }), 'it left its shell with exit code 4')
  })

  test('of an outer job is none of this pilot', async () => {
    const env = { GLEANER_STEP: 'worker 1', GLEANER_SETUP_NAMES: 'LEAKED_TOKEN', LEAKED_TOKEN: 'x' }
    const { output } = await boot('', { env }).done
    assert.equal(workerEnvironment(output)['GLEANER_SETUP_NAMES'], undefined)
  })
})
