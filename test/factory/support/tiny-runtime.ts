import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { create } from 'tar'

/** A stand-in for the worker's runtime: boots in the same way, from an archive of a few kilobytes. */
export async function tinyRuntime(
  folder: string,
  worker: string,
  node = tinyNode,
): Promise<{ path: string; sha256: string }> {
  const content = join(folder, 'content')
  mkdirSync(content, { recursive: true })
  writeFileSync(join(content, 'node'), node)
  chmodSync(join(content, 'node'), 0o755)
  writeFileSync(join(content, 'worker.js'), worker)
  const path = join(folder, 'runtime.tar.gz')
  await create({ gzip: true, file: path, cwd: content, portable: true }, ['node', 'worker.js'])
  return { path, sha256: createHash('sha256').update(readFileSync(path)).digest('hex') }
}

/** "node" that runs the worker as a shell script. */
const tinyNode = `#!/bin/sh
if [ "$1" = -v ]; then echo v24.0.0; exit; fi
exec /bin/sh "$1"
`
