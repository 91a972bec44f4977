import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { localFiles } from '../../../src/factory/transports/local-files.ts'
import { localTransport } from '../../../src/factory/transports/local-transport.ts'
import type { Transport } from '../../../src/factory/transports/transport.ts'

const script = fileURLToPath(new URL('../../../scripts/testbed', import.meta.url))

const Env = z.object({ up: z.boolean(), shared: z.string(), project: z.string(), uid: z.int(), gid: z.int() })

/** The HTCondor pool and Slurm cluster of scripts/testbed, which must be up. */
export const testbed = Env.parse(JSON.parse(execFileSync(script, ['env'], { encoding: 'utf8' })))
if (!testbed.up) throw new Error('these tests need real batch systems: run scripts/testbed up')

export type User = 'researcher' | 'boss' | 'root'

/** The command that runs another one inside the testbed. */
export const inside = (user: User, ...command: string[]) => [script, 'exec', '--user', user, '--', ...command]

/** Runs a command inside the testbed and returns what it says. */
export function run(user: User, ...command: string[]): string {
  const [file, ...args] = inside(user, ...command) as [string, ...string[]]
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** A folder that the nodes see, too, and that belongs to the researcher. */
export function sharedFolder(name: string): { folder: string; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(testbed.shared, `${name}-`))
  give(folder)
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
}

export function subfolder(folder: string, name: string): string {
  const path = join(folder, name)
  mkdirSync(path, { recursive: true })
  give(path)
  return path
}

const give = (path: string) => chownSync(path, testbed.uid, testbed.gid)

/** Runs commands as the researcher; what these tests wrote into a submission's folder is made the researcher's first. */
export function researcher(): Transport {
  return {
    files: localFiles,
    run(command, { cwd = testbed.shared, signal }) {
      if (cwd !== testbed.shared) execFileSync('chown', ['-R', '-h', `${testbed.uid}:${testbed.gid}`, cwd])
      const enter = [script, 'exec', '--user', 'researcher', '--cwd', cwd, '--']
      return localTransport({ prefix: enter }).run(command, { signal })
    },
  }
}
