/**
 * Packs Gleaner with its packages and Node into one tarball, for machines without npm:
 * npm run build:install [-- --out gleaner-linux-x64.tar.gz] [--level 9]
 */
import { execFileSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pack } from '../src/bundle/create/pack-tarball.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const platform = `${process.platform}-${process.arch}`

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: `gleaner-${platform}.tar.gz` },
    /** Of gzip, 1 to 9. */
    level: { type: 'string', default: '9' },
  },
})

type Locked = { dev?: boolean; devOptional?: boolean; optional?: boolean; os?: string[]; cpu?: string[] }

/** What only people read, or compilers. */
const UNUSED = /\.(map|d\.[cm]?ts|md|markdown)$/

/** Packages that run here, by their folders. Optional ones that are compiled when they are installed are done without. */
function needed([folder, locked]: [string, Locked]): boolean {
  const { dev, devOptional, optional, os, cpu } = locked
  if (folder === '' || dev || devOptional) return false
  if (!os && !cpu) return !optional
  return (
    (os ?? [process.platform]).includes(process.platform) && (cpu ?? [process.arch]).includes(process.arch)
  )
}

/** Copies one package, without the packages that lie in it, and without what is for other platforms. */
async function copyPackage(folder: string, target: string): Promise<void> {
  const source = join(root, folder)
  await cp(source, join(target, folder), {
    recursive: true,
    dereference: true,
    filter(path) {
      const inside = relative(source, path)
      if (/(^|\/)node_modules$/.test(inside) || UNUSED.test(inside)) return false
      const binary = /^bin\/napi-v\d+\/(\w+)(?:\/(\w+))?/.exec(inside)
      if (!folder.endsWith('/onnxruntime-node') || !binary) return true
      const [, system, architecture = process.arch] = binary
      return system === process.platform && architecture === process.arch
    },
  })
}

const LAUNCHER = `#!/bin/sh
# The factory command, by the Node that came with it.
self=$0
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=$(dirname "$self")/$link ;; esac
done
root=$(cd -P "$(dirname "$self")/.." && pwd) || exit
exec "$root/lib/node" "$root/lib/gleaner/bin/factory.js" "$@"
`

async function stage(folder: string): Promise<void> {
  const own = join(folder, 'lib', 'gleaner')
  const { files } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { files: string[] }
  for (const file of ['package.json', ...files.filter((name) => name !== 'dist')])
    await cp(join(root, file), join(own, file), { recursive: true })
  execFileSync(process.execPath, [join(root, 'scripts', 'build.ts'), join(own, 'dist')], { stdio: 'inherit' })
  const lock = await readFile(join(root, 'package-lock.json'), 'utf8')
  const { packages } = JSON.parse(lock) as { packages: Record<string, Locked> }
  for (const [name] of Object.entries(packages).filter(needed)) await copyPackage(name, own)
  await cp(process.execPath, join(folder, 'lib', 'node'))
  await mkdir(join(folder, 'bin'))
  await writeFile(join(folder, 'bin', 'factory'), LAUNCHER, { mode: 0o755 })
}

const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
const temporary = await mkdtemp(join(tmpdir(), 'gleaner-install-'))
try {
  await stage(join(temporary, `gleaner-${version}`))
  const out = resolve(options.out)
  await mkdir(dirname(out), { recursive: true })
  await pack(temporary, out, { gzip: { level: Number(options.level) } })
  const { size } = await stat(out)
  console.log(JSON.stringify({ file: out, bytes: size, platform }))
} finally {
  await rm(temporary, { recursive: true, force: true })
}
