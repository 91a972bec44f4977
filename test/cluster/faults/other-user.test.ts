import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { makePrivateFolder, readOwnFile } from '../../../src/common/private-path.ts'
import { plant, writeTasks } from '../../end-to-end/factory-fixture.ts'
import { bootPilot, settingsFor, workerEnvironment } from '../../factory/support/pilot-settings.ts'
import { tinyRuntime } from '../../factory/support/tiny-runtime.ts'
import { until } from '../../support/until.ts'

/* Another user of the submit node, who may look wherever the system lets them. It takes root to be somebody else. */

const NOBODY = { uid: 65534, gid: 65534 }

/** What a command says to somebody else. */
function asNobody(command: string, ...args: string[]): { failed: boolean; said: string } {
  const { status, stdout, stderr } = spawnSync(command, args, {
    ...NOBODY,
    encoding: 'utf8',
    timeout: 20_000,
  })
  return { failed: status !== 0, said: `${stdout}${stderr}` }
}

describe('another user of the submit node', () => {
  test('can read no secret, trace no process and command no manager', async () => {
    await using here = await plant()
    // The folders on the way are open, as a careless home folder is: only what is in it protects itself.
    for (const folder of [here.folder, here.state]) await chmod(folder, 0o755)
    await writeTasks(join(here.folder, 'tasks.jsonl'), 2_000, { ms: 20 })
    await here.start()
    const run = here.begin('run', 'tasks.jsonl', '--context', 'words', '--out', 'results.jsonl')
    await until(async () => (await here.status()).tasks.done > 20)

    const inState = execFileSync('find', [here.state, '-type', 'f'], { encoding: 'utf8' })
    const files = inState.split('\n').filter(Boolean)
    for (const name of ['endpoint.json', 'ledger.db', 'ledger.db-wal', 'factory.log']) {
      assert.ok(files.includes(join(here.state, name)), `no ${name} was tried`)
    }
    const tokens = files.filter((file) => file.endsWith('.token'))
    assert.ok(tokens.length > 0)
    for (const file of [
      ...tokens,
      ...['endpoint.json', 'ledger.db', 'ledger.db-wal', 'factory.log'].map((name) => join(here.state, name)),
    ]) {
      const { failed, said } = asNobody('cat', file)
      assert.ok(failed && /Permission denied/.test(said), `${file} was read: ${said.slice(0, 200)}`)
    }

    const pids = [...(await here.pilots()).values()]
    assert.ok(pids.length > 0)
    for (const pid of pids) assert.ok(asNobody('cat', `/proc/${pid}/environ`).failed)
    assert.ok(asNobody('kill', '-0', String(pids[0])).failed)

    const { url } = JSON.parse(
      execFileSync('cat', [join(here.state, 'endpoint.json')], { encoding: 'utf8' }),
    ) as {
      url: string
    }
    const curl = (...args: string[]) =>
      asNobody('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '--max-time', '10', ...args).said
    assert.equal(curl(`${url}/v1/status`), '401')
    assert.equal(curl('-X', 'POST', `${url}/v1/stop`), '401')
    assert.equal(curl('-H', `authorization: Bearer u.${'A'.repeat(43)}`, `${url}/v1/jobs`), '401')
    assert.equal(curl('-X', 'POST', `${url}/v1/workers/w1/exchange`), '401')
    assert.equal(curl(`${url}/v1/pieces/${'a'.repeat(64)}/manifest`), '403')

    assert.equal((await run.ended).code, 0)
  })

  test('cannot have a pilot use a cache folder that is theirs, or a link of theirs', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gleaner-stranger-'))
    const runtime = await tinyRuntime(join(folder, 'runtime'), 'env | grep ^GLEANER_\n')
    mkdirSync(join(folder, 'own'))
    symlinkSync(join(folder, 'own'), join(folder, 'link'))
    mkdirSync(join(folder, 'theirs', 'below'), { recursive: true })
    chownSync(join(folder, 'theirs'), NOBODY.uid, NOBODY.gid)
    lchownSync(join(folder, 'link'), NOBODY.uid, NOBODY.gid)
    for (const name of ['theirs', 'theirs/below', 'link', 'link/']) {
      const cache = join(folder, name)
      const { code, output } = await bootPilot({
        folder: join(folder, 'pilot'),
        settings: settingsFor(cache, runtime),
      }).done
      assert.equal(code, 0, output)
      assert.match(output, /is not used as cache: \S+\/(theirs|link) belongs to nobody, mode /)
      assert.match(workerEnvironment(output).GLEANER_CACHE!, /^\/tmp\/gleaner-/)
      await assert.rejects(makePrivateFolder(cache), /another user \(uid 65534\)/)
    }
    rmSync(folder, { recursive: true })
  })

  test('leaves nothing in a state folder that a factory would then use', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gleaner-stranger-'))
    chmodSync(folder, 0o777)
    asNobody('sh', '-c', `mkdir ${folder}/store && echo x >${folder}/store/planted`)
    await assert.rejects(
      makePrivateFolder(folder),
      /can be written by all users|store belongs to another user/,
    )
    rmSync(folder, { recursive: true })
    const endpoint = join(mkdtempSync(join(tmpdir(), 'gleaner-stranger-')), 'endpoint.json')
    writeFileSync(endpoint, '{}')
    chownSync(endpoint, NOBODY.uid, NOBODY.gid)
    assert.equal(readOwnFile(endpoint), '{}', 'root may look at what is not its own')
    rmSync(dirname(endpoint), { recursive: true })
  })
})
