import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { bootPilot, settingsFor, workerEnvironment } from '../support/pilot-settings.ts'
import { tinyRuntime } from '../support/tiny-runtime.ts'

let root: string
let runtime: { path: string; sha256: string }

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'gleaner-pilot-'))
  runtime = await tinyRuntime(join(root, 'runtime'), 'env | grep ^GLEANER_\n')
})
after(() => rmSync(root, { recursive: true }))

const fresh = () => mkdtempSync(join(root, 'folder-'))

describe('the cache folder of pilot.sh', () => {
  const boot = (folder: string, cache: string, env: Record<string, string> = {}) =>
    bootPilot({ folder, settings: settingsFor(cache, runtime), env: { TMPDIR: folder, ...env } }).done

  test('is one that only its user can enter, also if it was there before', async () => {
    const folder = fresh()
    const cache = join(folder, 'cache')
    mkdirSync(cache)
    chmodSync(cache, 0o755)
    const { code, output } = await boot(folder, `${cache}//`)
    assert.equal(code, 0, output)
    assert.equal(workerEnvironment(output).GLEANER_CACHE, cache)
    assert.equal(statSync(cache).mode & 0o777, 0o700)
  })

  const unsafe: Record<string, { lay: (folder: string) => string; offender: string }> = {
    'below a folder that others may write to': {
      lay: (folder) => open(join(folder, 'open'), 0o777) + '/cache',
      offender: 'open belongs to \\S+, mode drwxrwxrwx',
    },
    'reached through such a folder by a link': {
      lay: (folder) => {
        mkdirSync(join(open(join(folder, 'open'), 0o777), 'cache'))
        symlinkSync(join(folder, 'open', 'cache'), join(folder, 'link'))
        return join(folder, 'link') + '/'
      },
      offender: 'open belongs to \\S+, mode drwxrwxrwx',
    },
    'that others may write to': {
      lay: (folder) => open(join(folder, 'cache'), 0o777),
      offender: 'cache belongs to \\S+, mode drwxrwxrwx',
    },
  }
  function open(folder: string, mode: number): string {
    mkdirSync(folder)
    chmodSync(folder, mode)
    return folder
  }
  for (const [what, { lay, offender }] of Object.entries(unsafe))
    test(`is a private one instead of one ${what}, which the log names`, async () => {
      const folder = fresh()
      const asked = lay(folder)
      const { code, output } = await boot(folder, asked)
      assert.equal(code, 0, output)
      assert.match(
        output,
        new RegExp(
          `^gleaner: p7 on \\S+: ${asked.replace(/\/$/, '')} is not used as cache: \\S+/${offender}$`,
          'm',
        ),
      )
      const used = workerEnvironment(output).GLEANER_CACHE!
      assert.match(used, /^\/tmp\/gleaner-\d+/)
      assert.equal(statSync(used).mode & 0o777, 0o700)
    })

  /** A shell in which a folder is a filesystem of its own. */
  function mounted(folder: string, options: string): string {
    const shell = join(fresh(), 'shell')
    const mount = `mount -t tmpfs -o ${options} gleaner-test ${folder}`
    writeFileSync(shell, `#!/bin/sh\nexec unshare -m sh -c '${mount} && exec /bin/sh "$@"' sh "$@"\n`, {
      mode: 0o700,
    })
    return shell
  }

  test('is another one where programs cannot be run in it, which the log says', async () => {
    const folder = fresh()
    const cache = join(folder, 'cache')
    mkdirSync(cache)
    const shell = mounted(cache, 'noexec,size=1m,mode=700')
    const env = { TMPDIR: folder }
    const { code, output } = await bootPilot({ folder, settings: settingsFor(cache, runtime), env, shell })
      .done
    assert.equal(code, 0, output)
    assert.match(output, /cache is not used as cache: programs cannot be run there: is it mounted noexec\?$/m)
    assert.notEqual(workerEnvironment(output).GLEANER_CACHE, cache)
  })

  test('without room for the runtime ends the pilot, which names the filesystem and both sizes', async () => {
    const folder = fresh()
    const cache = join(folder, 'cache')
    mkdirSync(cache)
    const settings = { ...settingsFor(cache, runtime), GLEANER_RUNTIME_MB: '210' }
    const shell = mounted(cache, 'size=3m,mode=700')
    const { code, output } = await bootPilot({ folder, settings, shell }).done
    assert.equal(code, 68)
    assert.match(
      output,
      new RegExp(
        `error 68 no-space: the runtime takes 210 MB in ${cache}, and there are [23] MB left on the filesystem at ${cache}$`,
        'm',
      ),
    )
  })
})
