import { isBuiltin } from 'node:module'
import { basename, dirname, extname, parse } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { BuildFailure, Plugin } from 'esbuild'
import { forNodes } from '../../runtime/esbuild-options.ts'
import { InputError } from '../errors.ts'
import { isNative, packageOf, type NativePackage } from './native-packages.ts'

/** A user's module made ready to travel. */
export interface Compiled {
  /** Its file's name without the ending. */
  name: string
  /** Names of what it exports. */
  exports: string[]
  /** Contents by file name; `index.js` is the one to load. */
  files: Map<string, string>
  /** Packages it needs that cannot be bundled, because they have binaries. */
  natives: NativePackage[]
}

/** The bundle in which packages with compiled parts travel, so that a change of the code does not make it another. */
export const NATIVE_BUNDLE = 'gleaner.native'

/** Another module of this folder: a source, or what was built of it. */
const own = (name: string) => fileURLToPath(new URL(`${name}${extname(import.meta.url)}`, import.meta.url))

/**
 * Bundles a module with all it imports. Types are not checked: that is for the user's editor and tsc.
 *
 * @param file absolute path of a .ts or .js module
 * @throws InputError with the place in the user's sources
 */
export async function compile(file: string): Promise<Compiled> {
  // Most programs that use a client never bundle anything.
  const { build } = await import('esbuild')
  const natives = new Map<string, NativePackage>()
  const folder = dirname(file)
  const result = await build({
    ...forNodes,
    entryPoints: [
      { in: file, out: 'module' },
      { in: own('remote-function'), out: 'remote' },
    ],
    // Never written; maps name sources relative to it.
    outdir: folder,
    absWorkingDir: folder,
    sourcemap: 'inline',
    sourcesContent: false,
    // Stacks then show files where the user has them.
    sourceRoot: `${pathToFileURL(folder).href}/`,
    plugins: [resolver(natives)],
  }).catch((error: unknown) => {
    throw new InputError(`${file} cannot be bundled: ${explainFailure(error)}`, { cause: error })
  })
  const outputs = new Map(result.outputFiles.map(({ path, text }) => [basename(path), text]))
  const exports = (result.metafile.outputs['module.js']?.exports ?? []).sort()
  const files = new Map([
    ['package.json', '{"type":"module"}\n'],
    ['index.js', index(exports, [...natives.keys()].sort())],
    ...outputs,
  ])
  return { name: parse(file).name, exports, files, natives: [...natives.values()] }
}

/** The module that a library loads: it exports setup, and each function under its own name. */
function index(exports: string[], natives: string[]): string {
  const wrapped = exports.map((name, i) => `const f${i} = call(${JSON.stringify(name)})`)
  const named = exports.map((name, i) => `f${i} as ${JSON.stringify(name)}`)
  return [
    `import { remote, usePackages } from './remote.js'`,
    ...(natives.length > 0 ? [`usePackages(${JSON.stringify(natives)}, '${NATIVE_BUNDLE}')`] : []),
    `const { setUp, call } = remote(await import('./module.js'))`,
    ...wrapped,
    `export { ${['setUp as "gleaner.setUp"', ...named].join(', ')} }`,
    '',
  ].join('\n')
}

/** Gives user modules the part of `gleaner` that they can use, and leaves packages with binaries outside. */
function resolver(natives: Map<string, NativePackage>): Plugin {
  return {
    name: 'gleaner',
    setup(build) {
      build.onResolve({ filter: /^gleaner$/ }, () => ({ path: own('setup-variables') }))
      build.onResolve({ filter: /^[^./]/ }, async ({ path, pluginData, ...where }) => {
        if (pluginData === 'seen' || where.kind === 'entry-point' || isBuiltin(path)) return undefined
        const { importer, namespace, resolveDir, kind } = where
        const options = { importer, namespace, resolveDir, kind, pluginData: 'seen' }
        const resolved = await build.resolve(path, options)
        const found = resolved.errors.length === 0 ? packageOf(resolved.path) : undefined
        if (!found || !(await isNative(found))) return resolved
        natives.set(found.name, found)
        return { path, external: true }
      })
    },
  }
}

function explainFailure(error: unknown): string {
  const [first] = (error as Partial<BuildFailure>).errors ?? []
  if (!first) return String(error)
  const at = first.location ? `${first.location.file}:${first.location.line}: ` : ''
  return at + first.text
}
