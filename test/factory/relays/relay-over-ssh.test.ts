import assert from 'node:assert/strict'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { plant, readIds, writeTasks } from '../../end-to-end/factory-fixture.ts'
import { until } from '../../support/until.ts'
import { bareSystem } from '../transports/ssh/minimal-unix.ts'
import { cuttingProxy } from '../transports/ssh/cutting-proxy.ts'
import { farSlurm } from '../transports/ssh/fake-remote-slurm.ts'
import { knownHost, noSshd, startSshd } from '../transports/ssh/sshd.ts'

/** The relay of a submit node, by the number of its process; undefined if none runs. */
function relayAt(farEnd: string): number | undefined {
  const [file] = globSync(join(farEnd, 'relay/cache/*.pid'))
  const pid = file === undefined ? undefined : Number(readFileSync(file, 'utf8'))
  return pid !== undefined && existsSync(`/proc/${pid}`) ? pid : undefined
}

test(
  'pilots work through a relay that the factory starts on a submit node with neither Node nor curl, and go on after the connection to it broke, it was killed, and the node was gone for a while',
  { skip: noSshd },
  async (t) => {
    const tools = mkdtempSync(join(tmpdir(), 'gleaner-bare-'))
    t.after(() => rmSync(tools, { recursive: true }))
    await using sshd = await startSshd([bareSystem(tools), 'AllowTcpForwarding no'])
    await using proxy = await cuttingProxy(sshd.port)
    writeFileSync(sshd.knownHosts, knownHost(`[127.0.0.1]:${proxy.port}`, sshd.hostKey))
    await using here = await plant()
    const slurm = farSlurm(here.folder, '')
    const site = {
      kind: 'slurm',
      count: 2,
      poll: 1,
      memory: 'none',
      transport: { ssh: `login:${proxy.port}`, config: sshd.config, folder: join(here.folder, 'far end') },
      relay: { address: '127.0.0.1' },
      shell: true,
      commandEnvironment: slurm.environment,
    }
    const config = { contexts: [join(here.folder, 'words')], sites: { here: site } }
    writeFileSync(join(here.state, 'factory.yaml'), JSON.stringify(config))
    await here.start()
    const input = join(here.folder, 'tasks.jsonl')
    const out = join(here.folder, 'out.jsonl')
    await writeTasks(input, 1000, { ms: 20 })
    const run = here.begin('run', input, '--context', 'words', '--out', out)
    t.after(() => run.child.kill('SIGKILL'))
    if (process.env['TEST_LOG'])
      t.after(() => console.log(readFileSync(join(here.state, 'factory.log'), 'utf8')))
    await until(async () => (await readIds(out)).length > 20)
    const farEnd = join(here.folder, 'far end')
    const before = relayAt(farEnd)
    assert.ok(before)
    assert.equal((await here.factory('exec', 'p1', '--', 'echo', 'through')).stdout, 'through\n')

    proxy.cut()
    // It ends with its connection: at once, or when its successor comes.
    await until(() => !existsSync(`/proc/${before}`))
    await until(() => relayAt(farEnd) !== undefined)

    const killed = relayAt(farEnd)!
    process.kill(killed, 'SIGKILL')
    await until(() => ![killed, undefined].includes(relayAt(farEnd)))
    const done = (await readIds(out)).length
    await until(async () => (await readIds(out)).length > done)

    await sshd.stop()
    await until(() => relayAt(farEnd) === undefined)
    const log = () => readFileSync(join(here.state, 'factory.log'), 'utf8')
    await until(() => log().includes('login cannot be reached'))
    const paused = async () => (await here.status()).sites[0]!.paused ?? ''
    await until(async () =>
      /^login cannot be reached.*; the relay at login.* does not run/.test(await paused()),
    )
    await sshd.start()
    const { code } = await run.ended
    assert.equal(code, 0)
    assert.equal(new Set(await readIds(out)).size, 1000)
    const pilots = async () => (await here.status()).workers.map(({ pilot }) => pilot).sort()
    await until(async () => (await pilots()).length === 2)
    assert.deepEqual(await pilots(), ['p1', 'p2'], 'the same pilots worked on')
    await here.factory('stop')
    await until(() => relayAt(farEnd) === undefined)
  },
)
