import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ContextFilesError } from '../../../../common/task-errors.ts'
import { chooseGraph, type GraphFile } from './choose-graph.ts'
import type { SlotDevices } from '../graph/providers.ts'

/** Where graphs lie in a model's folder: in `onnx/`, as exports for transformers have it, or beside config.json. */
const FOLDERS = ['onnx', '']

/** What a graph may have beside it with the bytes of its weights. */
const EXTERNAL = /^(?:\.onnx)?(?:_data(?:_\d+)?|\.data)$/

/** The graphs in a model's folder, each with the size of its external data. */
export async function listGraphs(folder: string): Promise<GraphFile[]> {
  const lists = await Promise.all(FOLDERS.map((sub) => listIn(folder, sub)))
  return lists.flat()
}

async function listIn(folder: string, sub: string): Promise<GraphFile[]> {
  const names = await readdir(join(folder, sub)).catch(() => [])
  const sizes = new Map(
    await Promise.all(names.map(async (name) => [name, (await stat(join(folder, sub, name))).size] as const)),
  )
  return names
    .filter((name) => name.endsWith('.onnx'))
    .sort()
    .map((name) => {
      const stem = name.slice(0, -'.onnx'.length)
      const parts = names.filter((one) => one.startsWith(stem) && EXTERNAL.test(one.slice(stem.length)))
      const bytes = [name, ...parts].reduce((sum, one) => sum + (sizes.get(one) ?? 0), 0)
      return { path: join(sub, name), bytes }
    })
}

export interface GraphWish {
  /** File name that the context asks for. Default: the best one there. */
  graph?: string | undefined
  slot: SlotDevices
  /** What graphs for this purpose are called, the likeliest first, without `.onnx`. */
  stems: readonly string[]
}

/**
 * Finds the graph to load, and says in the log which one it is if there was a choice.
 *
 * @returns its path, and its size with all that belongs to it, bytes
 * @throws {ContextFilesError} that lists what is there
 */
export function findGraph(folder: string, graphs: readonly GraphFile[], wish: GraphWish): GraphFile {
  const { graph, slot, stems } = wish
  if (graph !== undefined) {
    const found = graphs.find(({ path }) => path === join('onnx', graph) || path === graph)
    return found ?? missing(join(folder, 'onnx', graph), graphs)
  }
  const isOnCpu = slot.device === 'cpu'
  const memory = isOnCpu ? process.availableMemory() : slot.gpus?.memory || Infinity
  for (const stem of stems) {
    const choice = chooseGraph(graphs, stem, isOnCpu ? 'cpu' : 'device', memory)
    const file = graphs.find(({ path }) => path === choice?.path)
    if (!choice || !file) continue
    if (graphs.length > 1)
      process.stderr.write(`library: the model's graph is ${choice.path}, ${choice.reason}\n`)
    return file
  }
  const [only, ...others] = graphs
  if (only && others.length === 0) return only
  return missing(join(folder, 'onnx', `${stems[0]}.onnx`), graphs)
}

function missing(path: string, graphs: readonly GraphFile[]): never {
  const there = graphs.map((graph) => graph.path).join(', ') || 'no graph at all'
  throw new ContextFilesError(
    `${path} is missing; the model's folder has ${there}: name one as \`graph\` in the context's setup, or export the model to ONNX`,
  )
}
