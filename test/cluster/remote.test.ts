import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { alone, clusterPlant, words } from './support/cluster-factory.ts'
import { loginNode, sshConfig } from './support/login-node.ts'
import { sharedFolder } from './support/testbed.ts'

test('work flows to a Slurm behind SSH and to an HTCondor of this machine at once', async () => {
  using ssh = sharedFolder('ssh')
  const transport = {
    ssh: 'login',
    config: sshConfig(ssh.folder, loginNode),
    folder: join(ssh.folder, 'far end'),
  }
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
