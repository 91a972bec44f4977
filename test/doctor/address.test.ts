import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { lookAtAddress } from '../../src/doctor/checks/address.ts'
import { ConfigFile, resolveConfig } from '../../src/factory/config/config.ts'

test('pilots that reach the manager through a relay ask for no address that their nodes can dial', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'gleaner-address-'))
  t.after(() => rmSync(state, { recursive: true }))
  const transport = { ssh: 'login.example.org' }
  const sites = {
    here: { kind: 'local', count: 1 },
    centre: { kind: 'slurm', count: 1, transport, relay: true },
    behind: { kind: 'slurm', count: 1, relay: 'gateway:9800' },
    gpu: { kind: 'slurm', count: 1 },
  }
  const config = resolveConfig(ConfigFile.parse({ sites }))
  const address = { host: '127.0.0.1', port: 0, url: 'https://127.0.0.1:0', tls: true }
  const { remoteSites, relayedSites } = await lookAtAddress(config, address, state)
  assert.deepEqual(remoteSites, ['gpu'])
  assert.deepEqual(relayedSites, [{ name: 'behind', host: 'gateway' }])
})
