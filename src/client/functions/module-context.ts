import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Name } from '../../protocol/primitives.ts'
import type { Client } from '../client-types.ts'
import { InputError } from '../errors.ts'
import { NATIVE_BUNDLE, type Compiled } from './compile-module.ts'
import type { Upload } from './upload-context.ts'
import { packNatives } from './native-packages.ts'
import { encode } from './value-codec.ts'

const CODE_BUNDLE = 'gleaner.code'

/** A module that is edited is another context each time: unused ones go after this long, milliseconds. */
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
 * @param upload gives the factory a context
 * @throws InputError if the module has no such setup function or nothing to call
 */
export async function registerModule(
  client: Pick<Client, 'contexts'>,
  module: Compiled,
  { setup, bundles }: ContextOptions,
  upload: (context: Upload) => Promise<void>,
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
    bundles,
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
    const packages = natives.files.map(
      async ({ source, path }) => [`node_modules/${path}`, await readFile(source)] as const,
    )
    const native = new Map(await Promise.all(packages))
    const code = new Map([...module.files].map(([file, text]) => [file, Buffer.from(text)]))
    const files = { [CODE_BUNDLE]: code, ...(native.size > 0 && { [NATIVE_BUNDLE]: native }) }
    await upload({ context: { name, ...spec }, files, keepMs: KEEP_MS })
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
