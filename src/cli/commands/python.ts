import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { makePrivateFolder } from '../../common/private-path.ts'
import { makeWheel, wheelName } from '../../client/python-wheel.ts'
import { version } from '../version.ts'

/** Where Python's package is, and, in what was built, its wheel. */
const FOLDER = fileURLToPath(new URL('../../client/python', import.meta.url))

export function define(command: Command): void {
  command
    .description(
      'Prints the path of the wheel with which Python programs call functions on this factory: ' +
        'pip install "$(factory python)". It needs Python 3.8 or newer and no other package.',
    )
    .option('--folder', 'print the folder to put on PYTHONPATH instead')
    .action(async ({ folder = false }: { folder?: boolean }) => {
      console.log(folder ? FOLDER : await wheel())
    })
}

/** The wheel that came with this program; in a checkout it is made of what is there now. */
async function wheel(): Promise<string> {
  const built = join(FOLDER, wheelName(version))
  if (existsSync(built)) return built
  const bytes = makeWheel(FOLDER, version)
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const folder = join(cache, 'gleaner', `wheel-${hash('sha256', bytes).slice(0, 16)}`)
  // Pip runs what it finds there.
  await makePrivateFolder(folder)
  const path = join(folder, wheelName(version))
  // Whole at any time, also for another who asks just now.
  await writeFile(`${path}.${process.pid}`, bytes)
  await rename(`${path}.${process.pid}`, path)
  return path
}
