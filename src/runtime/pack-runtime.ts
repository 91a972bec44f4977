import { createHash, hash, randomUUID } from 'node:crypto'
import { constants, createReadStream, existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { build } from 'esbuild'
import type { Logger } from 'pino'
import { createBundle } from '../bundle/create/create-bundle.ts'
import { BundleError } from '../bundle/format/errors.ts'
import { forNodes } from './esbuild-options.ts'
import { GZIP, pack } from '../bundle/create/pack-tarball.ts'
import { isRuntimeName, runtimeName } from './runtime-name.ts'
import type { Store } from '../bundle/store/store.ts'

/** A file in the store, read-only: its path, SHA-256 and size in bytes. */
export type Archive = { path: string; sha256: string; bytes: number }

/**
 * What a pilot boots: a .tar.gz with `node` and `worker.js` at its top; and the same as a .tar.zst, which is unpacked in a
 * fifth of the time where a node has zstd.
 */
export type Runtime = Archive & {
  /** The bundle of both archives. */
  id: string
  zstd: Archive
  /** What it takes on a node's disk, bytes. */
  unpackedBytes: number
}

const ARCHIVES = { gzip: 'runtime.tar.gz', zstd: 'runtime.tar.zst' }

export type PackRuntimeOptions = {
  store: Store
  log: Logger
  /** The programs, by the name of the file each becomes. Default: `worker.js`, `library.js`, `shell.js`, `relay.js` and `probe.js`. */
  programs?: Record<string, string>
  /** The binary that becomes `node`. Default: the one that runs this. */
  node?: string
  signal?: AbortSignal
  /** Hears that it is not packed yet, and will be now. */
  onPacking?: () => void
}

const XGRAMMAR = '@mlc-ai/web-xgrammar'

/**
 * Packages with binaries cannot be bundled into one file and go along as they are: what each needs at run time, and which of
 * its files the platform uses.
 */
const natives: Record<string, { needs: string[]; keeps: (file: string) => boolean }> = {
  'onnxruntime-node': {
    needs: ['onnxruntime-common'],
    keeps: (file) => !file.startsWith('bin/') || file.includes(`/${process.platform}/${process.arch}/`),
  },
  'onnxruntime-common': { needs: [], keeps: (file) => !file.startsWith('lib/') },
  // Read by the library itself, and never imported.
  [XGRAMMAR]: { needs: [], keeps: () => true },
  'node-pty': { needs: [`@lydell/node-pty-${process.platform}-${process.arch}`], keeps: () => true },
  [`@lydell/node-pty-${process.platform}-${process.arch}`]: { needs: [], keeps: () => true },
}
const UNUSED = /\.(map|d\.[cm]?ts|md)$/

/** One file of the runtime: where it comes from, or what is in it. */
type Part = { path: string; source: string } | { path: string; content: string }

/**
 * Packs the runtime for pilots on this platform, or finds it packed. The same program, packages and Node give the same
 * bytes.
 *
 * @throws {BundleError} `bad-input` if a program or a package that it needs is missing, `disk`.
 */
export async function packRuntime(options: PackRuntimeOptions): Promise<Runtime> {
  const { store, log, signal, onPacking } = options
  const parts = await collect(options)
  const sizes = await Promise.all(parts.map(sizeOf))
  const unpackedBytes = sizes.reduce((sum, size) => sum + size, 0)
  const name = runtimeName(await cacheKey(parts))
  const known = (await store.names()).get(name)
  if (known !== undefined && (await store.isComplete(known, signal)))
    return { ...(await describe(store, known)), unpackedBytes }

  log.info('packing the runtime for pilots')
  onPacking?.()
  const folder = path.join(store.temporary, randomUUID())
  const [content, archives] = [path.join(folder, 'content'), path.join(folder, 'archives')]
  try {
    for (const part of parts) await place(part, path.join(content, part.path))
    await mkdir(archives)
    await Promise.all([
      pack(content, path.join(archives, ARCHIVES.gzip), GZIP, signal),
      pack(content, path.join(archives, ARCHIVES.zstd), { zstd: true }, signal),
    ])
    const { id } = await createBundle({
      store,
      paths: [archives],
      kind: 'files',
      name,
      ...(signal && { signal }),
    })
    return { ...(await describe(store, id)), unpackedBytes }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Removes the runtimes of earlier versions from which no pilot boots any more.
 *
 * @param current the runtime that new pilots boot
 * @param isBooted whether there are pilots that boot from the archive at this path
 */
export async function removeOldRuntimes(
  store: Store,
  current: string,
  isBooted: (path: string) => boolean,
): Promise<void> {
  const names = [...(await store.names())].filter(([name]) => isRuntimeName(name))
  for (const id of new Set(names.map(([, id]) => id))) {
    const files = (await store.manifest(id))?.files ?? []
    if (id === current || files.some((file) => isBooted(store.fileOf(file)))) continue
    await store.remove(id).catch((error: unknown) => {
      // In use, or removed by another process.
      if (!(error instanceof BundleError)) throw error
    })
  }
}

async function collect({
  programs = ownPrograms(),
  node = process.execPath,
}: PackRuntimeOptions): Promise<Part[]> {
  const { outputs, externals } = await bundle(programs)
  return [
    { path: 'node', source: node },
    // The programs are ES modules.
    { path: 'package.json', content: '{"type":"module"}\n' },
    ...(await pythonParts()),
    ...outputs,
    ...(await packageParts(externals)),
  ]
}

/** Python's package, which a library of a Python context finds beside itself. */
async function pythonParts(): Promise<Part[]> {
  const folder = ownFile('client', 'python')
  const files = await readdir(folder, { recursive: true })
  const sources = files.filter((file) => file.endsWith('.py')).sort()
  return sources.map((file) => ({ path: path.join('python', file), source: path.join(folder, file) }))
}

/** The worker, the library, the process of a shell, the relay and the doctor's probe: sources beside this one, or what was built of them. */
function ownPrograms(): Record<string, string> {
  const main = `main${path.extname(import.meta.url)}`
  return {
    'worker.js': ownFile('pilot', main),
    'library.js': ownFile('library', main),
    'shell.js': ownFile('pilot/shells', main),
    'relay.js': ownFile('relay', main),
    'probe.js': ownFile('doctor/probe/node', main),
  }
}

function ownFile(room: string, name: string): string {
  return path.join(import.meta.dirname, '..', room, name)
}

/** Makes one file of each program and all it imports. `externals`: native packages that are left to be imported. */
async function bundle(programs: Record<string, string>): Promise<{ outputs: Part[]; externals: string[] }> {
  const entryPoints = Object.entries(programs).map(([out, source]) => ({
    in: source,
    out: path.parse(out).name,
  }))
  const missing = entryPoints.find((entry) => !existsSync(entry.in))
  if (missing) throw new BundleError('GLEANER_BUNDLE_INPUT', `${missing.in} is missing; install gleaner anew`)
  const result = await build({
    ...forNodes,
    entryPoints,
    outdir: '/',
    // Comments in the output name sources relative to it: where the factory is started must not change the runtime, which
    // pilots that wait in a queue boot from.
    absWorkingDir: import.meta.dirname,
    external: Object.keys(natives),
  }).catch((error: unknown) => {
    throw new BundleError('GLEANER_BUNDLE_INPUT', `the worker cannot be bundled: ${String(error)}`, {
      cause: error,
    })
  })
  const imports = Object.values(result.metafile.outputs).flatMap((output) => output.imports)
  const imported = new Set(imports.filter(({ external }) => external).map((found) => found.path))
  const isNamed = (name: string) =>
    result.outputFiles.some(({ text }) => text.includes(`'${name}'`) || text.includes(`"${name}"`))
  return {
    outputs: result.outputFiles.map((file) => ({ path: path.basename(file.path), content: file.text })),
    externals: Object.keys(natives)
      .filter((name) => imported.has(name) || (name === XGRAMMAR && isNamed(name)))
      .sort(),
  }
}

/** The files of packages and of what they need, under `node_modules`. */
async function packageParts(names: string[]): Promise<Part[]> {
  const parts: Part[] = []
  const wanted = new Set(names)
  for (const name of wanted) {
    const { needs, keeps } = natives[name]!
    for (const need of needs) wanted.add(need)
    const folder = packageFolder(name)
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const source = path.join(entry.parentPath, entry.name)
      const file = path.relative(folder, source)
      if (!entry.isFile() || file.startsWith('node_modules') || UNUSED.test(file) || !keeps(file)) continue
      parts.push({ path: path.join('node_modules', name, file), source })
    }
  }
  return parts
}

function packageFolder(name: string): string {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? []
  const found = folders.map((folder) => path.join(folder, name)).find((folder) => existsSync(folder))
  if (found === undefined)
    throw new BundleError('GLEANER_BUNDLE_INPUT', `the package ${name} is missing; install gleaner anew`)
  return found
}

/** Changes whenever a part does; cheap, as large files are not read. */
async function cacheKey(parts: Part[]): Promise<string> {
  const described = await Promise.all(
    parts.map(async (part) => {
      if ('content' in part) return [part.path, hash('sha256', part.content)]
      const { size, mtimeMs } = await stat(part.source)
      return [part.path, size, mtimeMs]
    }),
  )
  return hash('sha256', JSON.stringify([ARCHIVES, described.sort()])).slice(0, 16)
}

async function sizeOf(part: Part): Promise<number> {
  return 'content' in part ? Buffer.byteLength(part.content) : (await stat(part.source)).size
}

async function place(part: Part, target: string): Promise<void> {
  await mkdir(path.dirname(target), { recursive: true })
  if ('content' in part) await writeFile(target, part.content)
  else await copyFile(part.source, target, constants.COPYFILE_FICLONE)
}

async function describe(store: Store, id: string): Promise<Omit<Runtime, 'unpackedBytes'>> {
  const manifest = await store.manifest(id)
  const archive = async (name: string): Promise<Archive> => {
    const file = manifest?.files.find((file) => file.path === name)
    if (!file)
      throw new BundleError('GLEANER_BUNDLE_NOT_FOUND', `the runtime's bundle ${id} was removed; start again`)
    const where = store.fileOf(file)
    const sum = createHash('sha256')
    await pipeline(createReadStream(where), sum)
    return { path: where, sha256: sum.digest('hex'), bytes: file.size }
  }
  const [gzip, zstd] = await Promise.all([archive(ARCHIVES.gzip), archive(ARCHIVES.zstd)])
  return { id, ...gzip, zstd }
}
