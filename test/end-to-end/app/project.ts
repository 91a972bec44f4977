import { execFile } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** How an application ended. */
export interface AppEnd {
  code: number | null
  stdout: string
  stderr: string
}

/** Makes a folder in which an application may stand: with these files, the packages of this one, and `gleaner` itself. */
export async function makeProject(folder: string, files: Record<string, string>): Promise<void> {
  const gleaner = join(folder, 'node_modules', 'gleaner')
  await mkdir(gleaner, { recursive: true })
  await writeFile(join(gleaner, 'package.json'), '{"type":"module","exports":"./index.js"}')
  // Node runs no TypeScript below node_modules.
  await writeFile(join(gleaner, 'index.js'), `export * from '${ROOT}src/client/index.ts'\n`)
  for (const name of ['onnxruntime-node', '@huggingface']) {
    await symlink(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name))
  }
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
}

/** Runs a program of such a folder on the factory of this state folder. */
export function runApp(folder: string, state: string, args: string[], input = ''): Promise<AppEnd> {
  return new Promise((resolve) => {
    const options = { cwd: folder, env: { ...process.env, GLEANER_STATE: state }, timeout: 600_000 }
    const child = execFile(process.execPath, args, options, (error, stdout, stderr) =>
      resolve({ code: error ? ((error.code as number | undefined) ?? null) : 0, stdout, stderr }),
    )
    child.stdin!.end(input)
  })
}
