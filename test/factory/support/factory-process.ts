/**
 * A factory in a process of its own that dies as by `kill -9` at one moment: FOLDER CRASH, where CRASH is `created`
 * (pilots are in the ledger), `submitted` (they run, which the ledger does not know) or `never`.
 */
import { join } from 'node:path'
import pino from 'pino'
import { loadConfig } from '../../../src/factory/config/load-config.ts'
import { startFactory } from '../../../src/factory/factory.ts'
import { testRegistry } from './fake-pilot-registry.ts'

const [folder = '', crash] = process.argv.slice(2)
const registry = testRegistry({ file: join(folder, 'registry.json') })
registry.setDemand({ queued: 100 })
const die = () => process.kill(process.pid, 'SIGKILL')

startFactory({
  config: loadConfig([join(folder, 'factory.yaml')]),
  registry: {
    ...registry,
    create(site, count) {
      const made = registry.create(site, count)
      if (crash === 'created') die()
      return made
    },
    submitted(pilots) {
      if (crash === 'submitted') die()
      registry.submitted(pilots)
      console.log('submitted')
    },
  },
  stateFolder: folder,
  manager: { host: '127.0.0.1', port: 9 },
  managerUrl: 'http://127.0.0.1:9',
  runtime: JSON.parse(process.env['RUNTIME'] ?? '') as { path: string; sha256: string },
  log: pino({ level: 'silent' }),
})
