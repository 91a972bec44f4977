import { join } from 'node:path'
import { pino } from 'pino'
import { startOn } from '../../test/support/manager.ts'
import { openAiRoutes } from '../../src/openai/routes.ts'
import { dashboardRoutes } from '../../src/web/server/routes.ts'
import { memoryInUse } from './memory.ts'
import type { FromManager, ManagerProcessOptions, ToManager } from './manager-process.ts'

/* A manager in a process of its own, for scripts and tests that kill, stop or load it. See manager-process.ts. */

const [folder, given] = process.argv.slice(2) as [string, string]
const { all = false, ...options } = JSON.parse(given) as ManagerProcessOptions
const log = pino({ level: process.env.TEST_LOG ?? 'fatal' }, pino.destination({ fd: 2, sync: true }))
const manager = await startOn(folder, {
  ...options,
  log,
  ...(all && {
    routes: [
      (server, { stateFolder, ...services }) =>
        openAiRoutes(server, { ...services, folder: join(stateFolder, 'openai') }),
      dashboardRoutes,
    ],
  }),
})
const say = (message: FromManager) => process.send!(message)

process.on('message', (message: ToManager) => {
  if (message === 'memory') say({ type: 'memory', ...memoryInUse() })
  else say({ type: 'pilots', pilots: manager.registry.create('test', message.pilots) })
})
// Its parent is gone, or wants it to stop.
for (const event of ['disconnect', 'SIGTERM']) {
  process.once(event, () => void manager.close().finally(() => process.exit()))
}
const { url, token, caFile } = manager
say({ type: 'ready', url, token, ...(caFile === undefined ? {} : { caFile }) })
