import { createHash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Name } from '../../protocol/common.ts'
import type { Client } from '../client.ts'
import { InputError } from '../errors.ts'
import { NATIVE_BUNDLE, type Compiled } from './compile.ts'
import { packNatives, type PackedNatives } from './natives.ts'
import { encode } from './values.ts'

const CODE_BUNDLE = 'gleaner.code'

/** A module that is edited is another context each time: those that nobody uses any more go after this long, milliseconds. */
const KEEP_MS = 24 * 3_600_000

/** A module's setup function and its arguments. */
export type Setup = readonly [name: string, ...args: unknown[]]

export interface ContextOptions {
  setup: Setup | undefined
  /** Absolute paths of folders that go along, by name. */
  bundles: Record<string, string>
}

/** What a context made of a module is called at the factory, and which functions it has. */
export interface ModuleContext {
  name: string
  functions: string[]
}

/**
 * Sees to it that the factory knows the context of a module with this setup. The same module, packages and arguments make the
 * same context, so that workers that hold it loaded serve the next application too.
 *
 * @param folder where files may be left for the manager while it reads them: it must see them under the same path
 * @throws InputError if the module has no such setup function or nothing to call
 */
export async function registerModule(
  client: Pick<Client, 'contexts' | 'addContext'>,
  module: Compiled,
  { setup, bundles }: ContextOptions,
  folder: string,
  signal?: AbortSignal,
): Promise<ModuleContext> {
  const functions = module.exports.filter((name) => Name.safeParse(name).success)
  if (functions.length === 0) throw new InputError(`the module ${module.name} exports nothing to call`)
  if (setup && !module.exports.includes(setup[0])) {
    throw new InputError(
      `the module ${module.name} exports no setup function "${setup[0]}"; it exports ${module.exports.join(', ')}`,
    )
  }
  const natives = await packNatives(module.natives)
  const spec = {
    bundles: {
      ...bundles,
      [CODE_BUNDLE]: './code',
      ...(natives.files.length > 0 && { [NATIVE_BUNDLE]: './native' }),
    },
    library: 'module',
    setup: {
      bundle: CODE_BUNDLE,
      file: 'index.js',
      ...(setup && { call: 'gleaner.setUp', args: [setup[0], encode(setup.slice(1))] }),
    },
    functions: Object.fromEntries(functions.map((name) => [name, { export: name }])),
  }
  const prints = await Promise.all(Object.values(bundles).map(printOf))
  const name = nameOf(module, [natives.versions, spec, prints])
  const known = await client.contexts({ signal })
  if (!known.some((context) => context.name === name)) {
    const draft = join(folder, randomUUID())
    try {
      await writeFolder(draft, module, natives, { name, ...spec })
      await client.addContext(draft, { keepMs: KEEP_MS, signal })
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
  }
  return { name, functions }
}

/** What tells a folder from what it was before, or will be after a change, without reading gigabytes. */
async function printOf(folder: string): Promise<string[]> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: Error) => {
    throw new InputError(`the bundle ${folder} cannot be read: ${error.message}`)
  })
  const prints = files.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name)
    const { size, mtimeMs } = await stat(path)
    return `${path} ${size} ${mtimeMs}`
  })
  return (await Promise.all(prints)).sort()
}

function nameOf(module: Compiled, rest: unknown[]): string {
  const hash = createHash('sha256').update(JSON.stringify([[...module.files], rest]))
  const base = module.name.replaceAll(/[^A-Za-z0-9]+/g, '-').replace(/^-/, '') || 'module'
  return `${base.slice(0, 40)}-${hash.digest('hex').slice(0, 16)}`
}

async function writeFolder(
  folder: string,
  { files }: Compiled,
  natives: PackedNatives,
  context: object,
): Promise<void> {
  const code = join(folder, 'code')
  await mkdir(code, { recursive: true, mode: 0o700 })
  for (const [file, text] of files) await writeFile(join(code, file), text)
  for (const { source, path } of natives.files) {
    const target = join(folder, 'native', 'node_modules', path)
    await mkdir(dirname(target), { recursive: true })
    await copyFile(source, target, constants.COPYFILE_FICLONE)
  }
  // JSON is YAML.
  await writeFile(join(folder, 'context.yaml'), JSON.stringify(context, null, 2))
}
