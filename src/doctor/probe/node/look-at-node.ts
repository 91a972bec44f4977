import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { diskRoom } from '../../../common/disk-room.ts'
import type { GpuVendor } from '../../../common/gpus/gpu-vendor.ts'
import { GPU_VENDORS } from '../../../common/gpus/vendors.ts'
import type { NodeReport } from '../../../protocol/probe.ts'
import { listProviders, tryApart } from './library-trials.ts'

const execute = promisify(execFile)
/** Longest a program may take to say its version, milliseconds. */
const LIMIT_MS = 20_000

/** Libraries that the engine's ways to a GPU need, by what the loader looks for. */
const LIBRARIES = ['libvulkan.so.1', 'libcuda.so.1', 'libcudart.so.12', 'libcublas.so.12', 'libcudnn.so.9']
/** Programs that pilots or contexts use, and how each says its version. */
const PROGRAMS: Record<string, string[]> = {
  bash: ['--version'],
  tar: ['--version'],
  gzip: ['--version'],
  zstd: ['--version'],
  curl: ['--version'],
  wget: ['--version'],
  python3: ['--version'],
}

/** Finds out what this node is like. */
export async function lookAtNode(): Promise<Omit<NodeReport, 'kind' | 'pilot' | 'port'>> {
  const startedAt = performance.now()
  const env = process.env
  const providers = await listProviders().catch(() => [])
  const [cache, gpus, libraries, tried, programs] = await Promise.all([
    lookAtCache(env['GLEANER_CACHE'] ?? ''),
    lookAtGpus(),
    Promise.all(LIBRARIES.map((name) => tryApart('library', name))),
    Promise.all(providers.map((name) => tryApart('provider', name))),
    versions(),
  ])
  return {
    node: env['GLEANER_NODE'] ?? 'unnamed',
    cpus: Number(env['GLEANER_CPUS'] ?? 1),
    proxies: Object.fromEntries(
      Object.entries(env).flatMap(([name, value]) =>
        /^(https?|no|all)_proxy$/i.test(name) && value ? [[name, withoutSecret(value)]] : [],
      ),
    ),
    ...{ cache, gpus, libraries, providers: tried, programs },
    clock: Date.now(),
    tookMs: performance.now() - startedAt,
  }
}

/** A proxy's URL may hold a password. */
const withoutSecret = (url: string) => url.replace(/\/\/[^/@]*@/, '//…@').slice(0, 2_000)

async function lookAtCache(folder: string): Promise<NodeReport['cache']> {
  const room = diskRoom(folder)
  const mounts = await readFile('/proc/self/mounts', 'utf8').catch(() => '')
  const found = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .findLast(([, mount]) => mount === room?.mount)
  return {
    folder,
    ...(room && { freeBytes: room.free }),
    ...(found?.[2] !== undefined && { filesystem: found[2] }),
  }
}

async function lookAtGpus(): Promise<NodeReport['gpus']> {
  const given = (process.env['GLEANER_GPUS'] ?? '').split(',').filter(Boolean)
  const files = [...(await readdir('/dev').catch(() => [])), ...(await readdir('/dev/dri').catch(() => []))]
  const devices = files.filter((name) => /^(nvidia\d+|nvidiactl|kfd|renderD\d+)$/.test(name)).sort()
  const shown = (await Promise.all(GPU_VENDORS.map(describeShown))).flat()
  return { given, shown: shown.slice(0, 64), devices }
}

/** A line for each GPU: name, memory, driver. */
async function describeShown({ name, modules, shown }: GpuVendor): Promise<string[]> {
  const gpus = await shown()
  const versions = modules.map((module) => readFile(`/sys/module/${module}/version`, 'utf8').catch(() => ''))
  const version = (await Promise.all(versions)).find(Boolean)?.trim()
  const driver = `${name}’s driver${version === undefined ? '' : ` ${version.slice(0, 40)}`}`
  return gpus.map(({ product, memory }) =>
    [product, ...(memory > 0 ? [`${(memory / 2 ** 30).toFixed(1)} GiB`] : []), driver].join(', '),
  )
}

async function versions(): Promise<Record<string, string>> {
  const asked = Object.entries(PROGRAMS).map(async ([name, args]) => {
    try {
      const { stdout, stderr } = await execute(name, args, { timeout: LIMIT_MS })
      return [[name, (stdout || stderr).split('\n')[0]!.slice(0, 200)]]
    } catch {
      return []
    }
  })
  return Object.fromEntries((await Promise.all(asked)).flat()) as Record<string, string>
}
