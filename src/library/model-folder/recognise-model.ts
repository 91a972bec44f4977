import { open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { ContextFilesError } from '../../common/task-errors.ts'
import type { GraphFile } from '../kinds/causal-lm/files/choose-graph.ts'
import { listGraphs } from '../kinds/causal-lm/files/find-graph.ts'
import { readJson, readText } from '../kinds/causal-lm/files/read-model-files.ts'
import { readOutputNames } from '../kinds/causal-lm/graph/read-output-names.ts'
import { chooseRunner, type ModelConfig, type ModelListing, type RecognisedModel } from './choose-runner.ts'

/** What config.json says of what a model is for. */
const Config: z.ZodType<ModelConfig> = z.looseObject({
  model_type: z.string().nullish(),
  architectures: z.array(z.string()).nullish(),
  id2label: z.record(z.string(), z.string()).nullish(),
})
const ShardIndex = z.looseObject({ weight_map: z.record(z.string(), z.string()) })
const TokenizerConfig = z.looseObject({ chat_template: z.unknown() })

/** So many bytes at the beginning of a GGUF file hold what it says of itself, its vocabulary included. */
const GGUF_HEAD = 64 << 20
const CHUNK = 1 << 20

/**
 * Looks at a folder with a model (or a GGUF file in one), and says what it is and how it can be run.
 *
 * @param file the weights to take, where there are several: a path in the folder
 * @throws {ContextFilesError} that says what is there, if it is nothing that can be run
 */
export async function recogniseModel(path: string, file?: string): Promise<RecognisedModel> {
  const given = await stat(path).catch(() => undefined)
  if (given === undefined) throw new ContextFilesError(`${path}: there is no such folder`)
  const real = await realpath(path)
  if (given.isDirectory()) return chooseRunner(await listModel(real, file), file)
  if (!path.endsWith('.gguf'))
    throw new ContextFilesError(`${path} is not a folder: a model is a folder, or a file that ends in .gguf`)
  if (file !== undefined)
    throw new ContextFilesError(`${path} is one file already: leave out which of several to take`)
  return chooseRunner(await listModel(dirname(real), basename(real)), basename(real))
}

async function listModel(folder: string, file: string | undefined): Promise<ModelListing> {
  const entries = await readdir(folder, { withFileTypes: true })
  const files = await Promise.all(
    entries.map(async (entry) => {
      const { size, isFolder } = await stat(join(folder, entry.name)).then(
        (found) => ({ size: found.size, isFolder: found.isDirectory() }),
        () => ({ size: -1, isFolder: false }),
      )
      return { name: entry.name, bytes: isFolder ? undefined : size }
    }),
  )
  const names = files.map(({ name }) => name)
  const graphs = await listGraphs(folder)
  const index = await readJson(folder, 'model.safetensors.index.json', ShardIndex)
  const ggufs = names.filter((name) => name.endsWith('.gguf') && (file === undefined || name === file))
  const weights = [...graphs.map((graph) => graph.path), ...names.filter(isWeights)]
  return {
    folder,
    files,
    graphs,
    config: await readJson(folder, 'config.json', Config),
    shards: index && [...new Set(Object.values(index.weight_map))],
    hasChat: await hasChatTemplate(folder),
    keepsState: await keepsState(folder, graphs),
    ggufChats: await filter(ggufs, (name) => headHas(join(folder, name), 'tokenizer.chat_template')),
    pointers: await filter(weights, (name) => isPointer(join(folder, name))),
  }
}

const isWeights = (name: string) => /\.(?:safetensors|gguf|bin)$/.test(name)

async function filter(names: string[], test: (name: string) => Promise<boolean>): Promise<string[]> {
  const kept = await Promise.all(names.map(test))
  return names.filter((_, i) => kept[i])
}

async function hasChatTemplate(folder: string): Promise<boolean> {
  for (const name of ['chat_template.jinja', 'chat_template.json'])
    if ((await readText(folder, name)) !== undefined) return true
  const config = await readJson(folder, 'tokenizer_config.json', TokenizerConfig)
  return config?.chat_template !== undefined && config.chat_template !== null
}

/** Whether one of the graphs gives the state from which it goes on, as those of models that generate do. */
async function keepsState(folder: string, graphs: readonly GraphFile[]): Promise<boolean> {
  const [first] = graphs.filter(({ path }) => !/(?:^|\/)(?:encoder|vision|embed)/.test(path))
  if (!first) return false
  const names = await readOutputNames(join(folder, first.path)).catch(() => [])
  return names.some((name) => name.startsWith('present'))
}

const POINTER = 'version https://git-lfs'

/** Whether git has left a note in place of a large file. */
async function isPointer(path: string): Promise<boolean> {
  await using handle = await open(path)
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(POINTER.length), 0, POINTER.length, 0)
  return buffer.subarray(0, bytesRead).toString() === POINTER
}

/** Whether a text occurs in the first bytes of a file. */
async function headHas(path: string, text: string): Promise<boolean> {
  await using handle = await open(path)
  let rest = Buffer.alloc(0)
  for (let at = 0; at < GGUF_HEAD; at += CHUNK) {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(CHUNK), 0, CHUNK, at)
    const chunk = Buffer.concat([rest, buffer.subarray(0, bytesRead)])
    if (chunk.includes(text)) return true
    if (bytesRead < CHUNK) return false
    rest = chunk.subarray(-text.length)
  }
  return false
}
