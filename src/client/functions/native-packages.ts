import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'

/** An installed package. */
export interface NativePackage {
  name: string
  folder: string
}

const MODULES = `${sep}node_modules${sep}`

/** The package that a file belongs to, if it is an installed one. */
export function packageOf(file: string): NativePackage | undefined {
  const at = file.lastIndexOf(MODULES)
  if (at < 0) return undefined
  const parts = file.slice(at + MODULES.length).split(sep)
  const own = parts.slice(0, parts[0]?.startsWith('@') ? 2 : 1)
  return { name: own.join('/'), folder: join(file.slice(0, at + MODULES.length), ...own) }
}

const PLATFORM = `${process.platform}-${process.arch}`
const PLATFORMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'linuxmusl', 'openbsd', 'sunos', 'win32']
const PROCESSORS = ['arm', 'arm64', 'ia32', 'loong64', 'ppc64', 'riscv64', 's390x', 'x64']

/** Whether a package has compiled parts, by itself or in a package for this platform. */
export async function isNative({ folder }: NativePackage): Promise<boolean> {
  const { optionalDependencies = {} } = await manifestOf(folder)
  if (Object.keys(optionalDependencies).some((name) => name.includes(PLATFORM))) return true
  const files = await readdir(folder, { recursive: true })
  return files.some((file) => file.endsWith('.node') && !file.includes(`node_modules${sep}`))
}

interface Manifest {
  version?: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

async function manifestOf(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest
}

/** One file of a package: where it is, and where it goes under `node_modules`. */
export interface PackageFile {
  source: string
  path: string
}

/** A package with what it needs in turn, as files to be copied. `versions` tells this set of packages from another. */
export interface PackedNatives {
  files: PackageFile[]
  versions: string[]
}

/**
 * What a worker needs of these packages and of all they depend on: without files for other platforms, which are most of some.
 *
 * @throws Error if one of them is not installed
 */
export async function packNatives(packages: readonly NativePackage[]): Promise<PackedNatives> {
  const files: PackageFile[] = []
  const versions: string[] = []
  const placed = new Map<string, string>()
  const queue = packages.map((found) => ({ ...found, under: '', above: [] as string[] }))
  for (const { name, folder, under, above } of queue) {
    // One version of a package stands at the top; another goes below the package that needs it.
    const taken = placed.get(name)
    if (taken === folder || above.includes(folder)) continue
    const path = taken === undefined ? name : join(under, 'node_modules', name)
    if (taken === undefined) placed.set(name, folder)
    const { version, dependencies = {}, optionalDependencies = {} } = await manifestOf(folder)
    versions.push(`${path}@${version}`)
    files.push(...(await filesOf(folder, path)))
    for (const needed of new Set([...Object.keys(dependencies), ...Object.keys(optionalDependencies)])) {
      const at = await locate(needed, folder)
      if (at !== undefined) queue.push({ name: needed, folder: at, under: path, above: [...above, folder] })
      else if (!(needed in optionalDependencies)) {
        throw new Error(`${name} needs the package ${needed}, which is not installed: run npm install`)
      }
    }
  }
  return { files, versions: versions.sort() }
}

async function filesOf(folder: string, path: string): Promise<PackageFile[]> {
  const files: PackageFile[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name === 'node_modules' || isForeign(entry.name)) continue
    const source = join(folder, entry.name)
    const target = `${path}/${entry.name}`
    if (entry.isDirectory()) files.push(...(await filesOf(source, target)))
    else if (entry.isFile() && !/\.(map|d\.[cm]?ts|md)$/.test(entry.name))
      files.push({ source, path: target })
  }
  return files
}

/** Whether a folder is one for another platform or processor. */
function isForeign(name: string): boolean {
  const [platform = '', processor] = name.split(/[-_]/)
  if (PLATFORMS.includes(platform)) return platform !== process.platform || isForeign(processor ?? '')
  return PROCESSORS.includes(platform) && platform !== process.arch
}

async function locate(name: string, from: string): Promise<string | undefined> {
  for (let at = from; at !== dirname(at); at = dirname(at)) {
    const folder = join(at, 'node_modules', name)
    const found = await manifestOf(folder).catch(() => undefined)
    if (found) return folder
  }
  return undefined
}
