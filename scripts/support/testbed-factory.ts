import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const TESTBED = fileURLToPath(new URL('../testbed', import.meta.url))
/** The checkout, which is at the same path in the testbed's tree. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The command that runs another in the testbed's tree, as a user of it. */
export function inTree(user: 'researcher' | 'root', ...command: string[]): [string, ...string[]] {
  return [TESTBED, 'exec', '--user', user, '--', ...command]
}

/** A factory in the testbed's tree, in a folder that is also outside; stopped and deleted in the end. */
export interface TestbedFactory extends AsyncDisposable {
  folder: string
  state: string
  /** The numbers of the user that it runs as. */
  uid: number
  gid: number
}

/**
 * Starts a factory with one site.
 *
 * @throws if the testbed is not up
 */
export async function startTestbedFactory(site: Record<string, unknown>): Promise<TestbedFactory> {
  const said = spawnSync(TESTBED, ['env'], { encoding: 'utf8' })
  const testbed = JSON.parse(said.stdout) as { up: boolean; shared: string; uid: number; gid: number }
  if (!testbed.up) {
    throw new Error('the Python packages that this needs are in the testbed: run scripts/testbed up, as root')
  }
  const { uid, gid, shared } = testbed
  const folder = mkdtempSync(join(shared, 'factory-'))
  const state = join(folder, 'state')
  mkdirSync(state)
  // JSON is YAML.
  const config = { contexts: [], sites: { here: { ...site, cacheFolder: join(folder, 'cache') } } }
  writeFileSync(join(state, 'factory.yaml'), JSON.stringify(config))
  for (const path of [folder, state, join(state, 'factory.yaml')]) chownSync(path, uid, gid)

  const node = join(ROOT, 'node_modules/.bin/node')
  const [command, ...args] = inTree(
    'researcher',
    node,
    join(ROOT, 'bin/factory.js'),
    '--state',
    state,
    'start',
  )
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  const failed = exit.then(() => Promise.reject(new Error('the factory has ended')))
  failed.catch(() => {})
  await Promise.race([once(createInterface({ input: child.stdout }), 'line'), failed])
  child.stdout.resume()
  return {
    folder,
    state,
    uid,
    gid,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await exit
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
