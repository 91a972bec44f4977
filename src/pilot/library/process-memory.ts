import { readFile } from 'node:fs/promises'
import { familyOf } from '../../common/processes/process-family.ts'
import type { DeviceMemory } from '../gpus/device-memory.ts'

/**
 * Memory that a process and all it started have for themselves, bytes: anonymous and shared; what they map from files the
 * system can take back. 0 if the system does not tell.
 *
 * Pages that several of them share are first counted for each, which is cheap; only if the sum exceeds `limit` bytes are
 * they told apart, for which the system has to look at every page.
 */
export async function memoryOf(pid: number | undefined, limit: number): Promise<number> {
  const family = pid === undefined ? [] : await familyOf(pid)
  const most = await sumOf(family, 'status', /^Rss(?:Anon|Shmem):\s+(\d+) kB$/gm)
  if (most <= limit || family.length === 1) return most
  return (await sumOf(family, 'smaps_rollup', /^Pss_(?:Anon|Shmem):\s+(\d+) kB$/gm)) || most
}

/** The same on the node's GPUs, of what the driver has told. */
export async function deviceMemoryOf(pid: number | undefined, devices: DeviceMemory): Promise<number> {
  if (pid === undefined || devices.size === 0) return 0
  const family = await familyOf(pid)
  return family.reduce((sum, member) => sum + (devices.get(member) ?? 0), 0)
}

async function sumOf(pids: number[], file: string, figures: RegExp): Promise<number> {
  const texts = await Promise.all(pids.map((pid) => read(`/proc/${pid}/${file}`)))
  let bytes = 0
  for (const text of texts) for (const [, kib] of text.matchAll(figures)) bytes += Number(kib) * 1024
  return bytes
}

/** Empty for a process that has gone meanwhile. */
function read(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '')
}
