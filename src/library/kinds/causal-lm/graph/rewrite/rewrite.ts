import type { FloatType, Graph, StatePort } from '../graph.ts'
import { GraphWriter } from '../onnx-writer.ts'
import { type Attention, findAttention } from './find-attention.ts'
import { keepLastColumns } from './last-columns.ts'
import { consumersOf, extend, extract, type OnnxModel } from './onnx-model.ts'
import { type AttentionSizes, writeAttention, writeShared } from './write-attention.ts'

/*
 * A graph as it was exported spells attention out: it copies the whole cache at each step, repeats it for each head, and
 * scores every token of a prompt. This writes the same model without that. Pure: graphs in, graphs out.
 */

/** A graph, rewritten. */
export interface Rewritten {
  readonly model: OnnxModel
  /** The same that scores the columns alone that are asked for; undefined where it can do so anyway, or never. */
  readonly narrowed: OnnxModel | undefined
  /** Attention alone, as it was and as it is: from queries, keys and values to results, for comparison. */
  readonly before: OnnxModel
  readonly after: OnnxModel
  readonly blocks: ReadonlyArray<{ readonly attention: Attention; readonly sizes: AttentionSizes }>
}

const MASK = 'attention_mask'
const IDS = 'input_ids'
const POSITIONS = 'position_ids'
/** Operators are those of this version or later. */
const OPSET_MIN = 13

/**
 * Rewrites a graph so that its cache stays where it is, and only new columns come out.
 *
 * @param heads heads of queries
 * @returns undefined for a graph that is not of plain operators throughout, or needs more of its cache than that
 */
export function rewriteGraph(
  model: OnnxModel,
  graph: Graph,
  heads: number | undefined,
): Rewritten | undefined {
  if (model.opset < OPSET_MIN || heads === undefined) return undefined
  if (![MASK, IDS, POSITIONS].every((name) => model.inputs.includes(name))) return undefined
  const found = findAttention(model)
  const ports = new Map(graph.state.map((port) => [port.output, port]))
  const blocks = found?.map((attention) => ({ attention, sizes: sizesOf(attention, ports, heads) }))
  if (!blocks?.every(hasSizes)) return undefined
  const cached = new Set(blocks.flatMap(({ attention: { key, value } }) => [key.present, value.present]))
  if (graph.state.some(({ output, grows }) => grows !== undefined && !cached.has(output))) return undefined

  const g = new GraphWriter('rewritten.')
  writeBlocks(g, blocks)
  for (const [present, fresh] of freshOf(blocks)) g.op('Identity', [fresh], {}, present)
  const replaced = new Set([...cached, ...blocks.map(({ attention }) => attention.result)])
  const kept = model.nodes.filter(({ outputs }) => !outputs.some((name) => replaced.has(name)))
  const whole = extend(model, kept, g)
  const before = graph.state.filter(({ grows }) => grows !== undefined).map(({ input }) => input)
  if (usesElsewhere(whole, kept, [...cached, ...before, MASK])) return undefined
  const around = openBlocks(blocks)
  return {
    model: whole,
    narrowed: graph.keepLogits ? undefined : narrowed(whole),
    before: extract(model, around),
    after: extract(whole, around),
    blocks,
  }
}

type Block = Rewritten['blocks'][number]

function hasSizes(block: { attention: Attention; sizes: AttentionSizes | undefined }): block is Block {
  return block.sizes !== undefined
}

function sizesOf(
  { key, value }: Attention,
  ports: ReadonlyMap<string, StatePort>,
  heads: number,
): AttentionSizes | undefined {
  const [keys, values] = [ports.get(key.present), ports.get(value.present)]
  if (keys?.grows !== 2 || values?.grows !== 2 || keys.dims.length !== 4) return undefined
  const [, keyHeads, , keySize] = keys.dims as [number, number, number, number]
  const [, valueHeads, , valueSize] = values.dims as [number, number, number, number]
  if (keyHeads !== valueHeads || heads % keyHeads !== 0 || keys.type !== values.type) return undefined
  return { heads, keyHeads, keySize, valueSize, type: keys.type }
}

function writeBlocks(g: GraphWriter, blocks: readonly Block[]): void {
  const shared = writeShared(g, MASK, IDS)
  for (const { attention, sizes } of blocks) writeAttention(g, shared, attention, sizes)
}

/** New columns by what the graph calls the cache that it gives; layers may share one. */
function freshOf(blocks: readonly Block[]): Map<string, string> {
  return new Map(
    blocks.flatMap(({ attention: { key, value } }) =>
      [key, value].map(({ present, fresh }): [string, string] => [present, fresh]),
    ),
  )
}

/** Whether what is left of a graph looks at its cache, or at who may see whom. */
function usesElsewhere(whole: OnnxModel, kept: OnnxModel['nodes'], values: readonly string[]): boolean {
  const left = new Set(kept)
  const consumers = consumersOf(whole.nodes.filter((node) => left.has(node)))
  return values.some((value) => consumers.has(value))
}

function narrowed(model: OnnxModel): OnnxModel | undefined {
  const g = new GraphWriter('narrowed.')
  const nodes = keepLastColumns(model, model.nodes, g)
  return nodes && extend(model, nodes, g)
}

/** Names and types of what goes into attention, and of what comes out. */
function openBlocks(blocks: readonly Block[]): GraphWriter {
  const g = new GraphWriter('ports.')
  g.input(MASK, 'int64', ['rows', 'all'])
  g.input(IDS, 'int64', ['rows', 'new'])
  const given = new Set<string>()
  const input = (name: string, type: FloatType) => {
    if (!given.has(name))
      g.input(
        name,
        type,
        [0, 1, 2, 3].map((axis) => `${name} ${axis}`),
      )
    given.add(name)
  }
  for (const { attention, sizes } of blocks) {
    const { query, key, value, result } = attention
    for (const name of [query, key.past, key.fresh, value.past, value.fresh]) input(name, sizes.type)
    g.output(
      result,
      sizes.type,
      [0, 1, 2, 3].map((axis) => `${result} ${axis}`),
    )
  }
  return g
}
