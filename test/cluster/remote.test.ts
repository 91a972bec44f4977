import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { alone, clusterPlant, words } from './support/plant.ts'
import { sharedFolder, testbed } from './support/testbed.ts'

const script = join(testbed.project, 'scripts/testbed')
const { sshKey, sshKnownHosts, sshPort } = JSON.parse(
  execFileSync(script, ['env'], { encoding: 'utf8' }),
) as {
  sshKey: string
  sshKnownHosts: string
  sshPort: number
}

/** An ssh_config by which the researcher, inside, reaches the login node. */
function sshConfig(folder: string): string {
  const own = (name: string) => join(folder, name)
  copyFileSync(sshKey, own('key'))
  copyFileSync(sshKnownHosts, own('known_hosts'))
  const lines = ['Host login', 'HostName 127.0.0.1', `Port ${sshPort}`, 'User researcher', `IdentityFile ${own('key')}`, 'IdentityAgent none', `UserKnownHostsFile ${own('known_hosts')}`] // prettier-ignore
  writeFileSync(own('config'), `${lines.join('\n')}\n`)
  for (const name of ['key', 'known_hosts', 'config']) {
    chmodSync(own(name), 0o600)
    chownSync(own(name), testbed.uid, testbed.gid)
  }
  return own('config')
}

test('work flows to a Slurm behind SSH and to an HTCondor of this machine at once', async () => {
  using ssh = sharedFolder('ssh')
  const transport = { ssh: 'login', config: sshConfig(ssh.folder), folder: join(ssh.folder, 'far end') }
  await using plant = clusterPlant({
    slurm: { kind: 'slurm', count: 2, partition: 'low', transport, ...alone },
    htcondor: { kind: 'htcondor', count: 1 },
  })
  await plant.start()
  const rows = await plant.run('to all', words(600, 60))
  assert.equal(new Set(rows.map(({ key }) => key)).size, 600)
  assert.deepEqual(new Set(rows.map(({ status }) => status)), new Set(['done']))
  const { workers } = await plant.status()
  assert.deepEqual(new Set(workers.map(({ site }) => site)), new Set(['slurm', 'htcondor']))
  assert.ok(existsSync(join(ssh.folder, 'far end', 'runtime')), 'the runtime went over SSH')
})
