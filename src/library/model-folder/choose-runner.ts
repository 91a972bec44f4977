/* What a model folder is, and by what it is run. Pure: what lies there in, a choice and its reasons out. */
import { ContextFilesError } from '../../common/task-errors.ts'
import { chooseGraph, type GraphFile } from '../kinds/causal-lm/files/choose-graph.ts'

/** What config.json says of what a model is for. */
export interface ModelConfig {
  model_type?: string | null | undefined
  architectures?: string[] | null | undefined
  id2label?: Record<string, string> | null | undefined
}

/** What lies in a model's folder. */
export interface ModelListing {
  readonly folder: string
  /** What is there, without what is in folders; folders have no size. A size of -1: it cannot be looked at. */
  readonly files: readonly { name: string; bytes: number | undefined }[]
  readonly graphs: readonly GraphFile[]
  readonly config: ModelConfig | undefined
  /** Files that an index of safetensors names. */
  readonly shards: readonly string[] | undefined
  readonly hasChat: boolean
  /** A graph gives the state from which it goes on. */
  readonly keepsState: boolean
  /** GGUF files that have a chat template inside. */
  readonly ggufChats: readonly string[]
  /** Files in whose place git has left a note. */
  readonly pointers: readonly string[]
}

/** What a model can be asked for. */
export type ModelTask = 'generate' | 'embed' | 'classify' | 'score'

/** A model, and what runs it. */
export interface RecognisedModel {
  readonly folder: string
  readonly runner: 'causal-lm' | 'vllm' | 'llama-server'
  readonly task: ModelTask
  /** It has a chat template. */
  readonly hasChat: boolean
  /** The graph or GGUF file to take, a path in the folder; undefined if whatever runs it chooses. */
  readonly file: string | undefined
  /** What was recognised, and by what: one sentence each. */
  readonly reasons: readonly string[]
  /** What the user should know besides. */
  readonly warnings: readonly string[]
}

/** Stems of the graphs that the engine loads for each purpose, the likeliest first. */
const DECODERS = ['model', 'decoder_model_merged', 'decoder_with_past_model', 'decoder_model']
const ENCODERS = ['model', 'encoder_model']

/** @throws {ContextFilesError} that says what is there, if it is nothing that can be run */
export function chooseRunner(listing: ModelListing, file: string | undefined): RecognisedModel {
  const [pointer] = listing.pointers
  if (pointer !== undefined) {
    throw new ContextFilesError(
      `${listing.folder}/${pointer} is only git's note of a large file: fetch the files themselves with "git lfs pull"`,
    )
  }
  const names = listing.files.map(({ name }) => name)
  if (file?.endsWith('.gguf')) return chooseGguf(listing, file)
  if (listing.graphs.length > 0) return chooseOnnx(listing, file)
  if (file !== undefined) throw refusal(listing, `it has no graph ${file}`)
  if (names.some((name) => name.endsWith('.safetensors'))) return chooseSafetensors(listing)
  if (names.some((name) => name.endsWith('.gguf'))) return chooseGguf(listing, undefined)
  if (names.some((name) => name.endsWith('.bin') || name.endsWith('.pt') || name.endsWith('.pth')))
    throw refusal(
      listing,
      'its weights are in a form of PyTorch: save them as safetensors, or export it to ONNX',
    )
  throw refusal(listing, 'it has no weights: graphs (*.onnx, in onnx/), *.safetensors or *.gguf')
}

function chooseOnnx(listing: ModelListing, file: string | undefined): RecognisedModel {
  const { folder, graphs, config, hasChat } = listing
  for (const needed of ['config.json', 'tokenizer.json']) {
    if (!listing.files.some(({ name }) => name === needed))
      throw refusal(listing, `it has graphs but no ${needed}, which belongs beside onnx/`)
  }
  const path = file === undefined ? undefined : graphs.find((graph) => graph.path.split('/').at(-1) === file)
  if (file !== undefined && !path)
    throw refusal(
      listing,
      `it has no graph ${file}: its graphs are ${list(graphs.map((graph) => graph.path))}`,
    )
  const isPair = graphs.some((graph) => /(?:^|\/)encoder_model/.test(graph.path))
  const hasDecoder = graphs.some((graph) => /(?:^|\/)decoder_/.test(graph.path))
  const task = isPair && hasDecoder ? generates('its graphs are an encoder and a decoder') : taskOf(listing)
  const stems = task.task === 'generate' ? DECODERS : ENCODERS
  const chosen = path
    ? { path: path.path, reason: 'as you said' }
    : stems.flatMap((stem) => chooseGraph(graphs, stem, 'cpu', Infinity) ?? [])[0]
  const graph = chosen
    ? `Of ${graphs.length === 1 ? 'one graph' : `${graphs.length} graphs`}, a processor would take ${chosen.path} (${chosen.reason}).`
    : undefined
  if (!chosen && graphs.length > 1)
    throw refusal(
      listing,
      `none of its graphs has a usual name: say which to take; there are ${list(graphs.map((each) => each.path))}`,
    )
  const unused = listing.files.filter(({ name, bytes }) => isOtherWeights(name) && (bytes ?? 0) > 1e6)
  return {
    folder,
    runner: 'causal-lm',
    task: task.task,
    hasChat: hasChat && task.task === 'generate',
    file: path?.path.split('/').at(-1),
    reasons: [
      `An ONNX export${config?.model_type ? ` of the family ${config.model_type}` : ''}, run by the built-in engine: ${task.why}.`,
      ...(graph ? [graph] : []),
      ...(task.task === 'generate' ? [chatReason(hasChat)] : []),
    ],
    warnings: unused.map(
      ({ name, bytes }) =>
        `${name} (${megabytes(bytes ?? 0)}) is not needed, but would go to each node with the folder: move it elsewhere`,
    ),
  }
}

const isOtherWeights = (name: string) => /\.(?:safetensors|bin|pt|pth|gguf|h5|msgpack)$/.test(name)

function chooseSafetensors(listing: ModelListing): RecognisedModel {
  const { folder, files, config, shards = [], hasChat } = listing
  const names = files.map(({ name }) => name)
  if (!config) {
    if (names.includes('adapter_config.json'))
      throw refusal(listing, 'it is an adapter, not a model: merge it into the model that it was trained for')
    throw refusal(listing, 'it has weights but no config.json')
  }
  const missing = shards.filter((shard) => !names.includes(shard))
  if (missing.length > 0)
    throw refusal(
      listing,
      `its index names ${list(missing)}, which are missing: the download is not complete`,
    )
  const { task, why } = taskOf(listing)
  if (task === 'classify' || task === 'score')
    throw refusal(
      listing,
      `it is a model that ${task === 'score' ? 'scores pairs' : 'classifies'}: export it to ONNX for the built-in engine, or write a context for a server`,
    )
  return {
    folder,
    runner: 'vllm',
    task,
    hasChat: hasChat && task === 'generate',
    file: undefined,
    reasons: [
      `Weights as safetensors${config.model_type ? ` of the family ${config.model_type}` : ''}, served by vLLM, which has to be on the nodes: ${why}.`,
      ...(task === 'generate' ? [chatReason(hasChat)] : []),
    ],
    warnings: [],
  }
}

function chooseGguf(listing: ModelListing, file: string | undefined): RecognisedModel {
  const { folder, files, ggufChats } = listing
  const all = files.flatMap(({ name }) => (name.endsWith('.gguf') ? [name] : []))
  // Weights in several files are opened by the first; projectors of pictures go along with a model.
  const models = all.filter(
    (name) => !/^mmproj/i.test(name) && Number(/-(\d{5})-of-\d{5}\.gguf$/.exec(name)?.[1] ?? 1) === 1,
  )
  const chosen = file ?? (models.length === 1 ? models[0] : undefined)
  if (chosen === undefined || !all.includes(chosen)) {
    throw refusal(
      listing,
      `${chosen === undefined ? 'it has several' : `it has no ${chosen}`}: say which GGUF file to take; there are ${list(models)}`,
    )
  }
  const [, count] = /-00001-of-(\d{5})\.gguf$/.exec(chosen) ?? []
  const parts = Array.from({ length: Number(count ?? 0) }, (_, i) =>
    chosen.replace(/-00001-of-/, `-${String(i + 1).padStart(5, '0')}-of-`),
  )
  const missing = parts.filter((part) => !all.includes(part))
  if (missing.length > 0)
    throw refusal(listing, `${list(missing)} of its parts are missing: the download is not complete`)
  const hasChat = ggufChats.includes(chosen)
  const others = models.filter((name) => name !== chosen)
  return {
    folder,
    runner: 'llama-server',
    task: 'generate',
    hasChat,
    file: chosen,
    reasons: [
      `The GGUF file ${chosen}, served by llama-server of llama.cpp, which has to be on the nodes.`,
      chatReason(hasChat),
    ],
    warnings: others.map(
      (name) =>
        `${name} is not needed, but would go to each node with the folder: give ${chosen} a folder of its own`,
    ),
  }
}

interface Purpose {
  task: ModelTask
  why: string
}

const generates = (why: string): Purpose => ({ task: 'generate', why: `it generates text, since ${why}` })

/** What a model is for, by its config.json, what sentence-transformers left beside it, and its graphs. */
function taskOf({ config, files, keepsState, graphs }: ModelListing): Purpose {
  const [architecture = ''] = config?.architectures ?? []
  const says = `config.json has ${architecture}`
  const labels = Object.keys(config?.id2label ?? {}).length
  if (/ForCausalLM|LMHeadModel|ForConditionalGeneration/.test(architecture)) return generates(says)
  if (/ForSequenceClassification/.test(architecture))
    return labels === 1
      ? { task: 'score', why: `it scores pairs of texts, since ${says} with a single label` }
      : { task: 'classify', why: `it classifies texts, since ${says}` }
  const sentences = files.find(({ name }) =>
    ['modules.json', '1_Pooling', 'sentence_bert_config.json'].includes(name),
  )
  if (sentences) return { task: 'embed', why: `it embeds texts, since ${sentences.name} is there` }
  if (keepsState) return generates('its graph goes on from a state')
  if (architecture !== '') return { task: 'embed', why: `it embeds texts, since ${says}` }
  // Weights without graphs that say nothing of themselves are, as a rule, such models.
  return graphs.length > 0
    ? { task: 'embed', why: 'it embeds texts, since its graph keeps no state' }
    : generates('config.json names no other purpose')
}

const chatReason = (hasChat: boolean) =>
  hasChat
    ? 'It has a chat template: prompts are chat messages.'
    : 'It has no chat template: prompts are texts that it goes on from.'

const list = (names: readonly string[]) => names.join(', ') || 'none'
const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`
const SHOWN = 20

function refusal({ folder, files }: ModelListing, why: string): ContextFilesError {
  const names = files.map(({ name, bytes }) => (bytes === undefined ? `${name}/` : name)).sort()
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  const there = names.length === 0 ? 'nothing' : list(names.slice(0, SHOWN)) + more
  return new ContextFilesError(`${folder} is no model that can be run: ${why}. It has: ${there}`)
}
