import { consumersOf, type OnnxModel, type OnnxNode, producersOf } from './onnx-model.ts'

/*
 * Finds attention in a graph that spells it out in plain operators: which values are its queries, keys and values, and
 * which is its result. What lies between is not told here: compare-attention.ts runs both.
 */

/** Keys or values of a layer: `present`, which the graph gives, is `past`, which it takes, and new columns. */
export interface CachePort {
  readonly past: string
  readonly fresh: string
  readonly present: string
}

export interface Attention {
  /** Queries, [rows, heads, columns, size], or [rows, heads of keys, queries of each, size]. */
  readonly query: string
  readonly key: CachePort
  readonly value: CachePort
  /** What scores are multiplied with, or divided by. */
  readonly scales: ReadonlyArray<{ readonly by: string; readonly divides: boolean }>
  /** Whether queries that share keys lie below each other already, so that keys are not repeated for each. */
  readonly grouped: boolean
  /** The result, in the arrangement of the queries. */
  readonly result: string
}

/** Operators that change how keys and values lie, or repeat them. */
const ARRANGING = new Set([
  'Transpose',
  'Reshape',
  'Expand',
  'Unsqueeze',
  'Squeeze',
  'Identity',
  'Tile',
  'Cast',
])
/** Of those, the ones that repeat. */
const REPEATING = new Set(['Expand', 'Tile', 'Concat'])
/** Operators between weights of attention and what they are multiplied with. */
const PASSING = new Set(['Reshape', 'Identity', 'Dropout', 'IsNaN', 'Where', 'Cast'])

/** All attention of a graph to what it remembers; undefined when there is some that is not understood. */
export function findAttention(model: OnnxModel): Attention[] | undefined {
  const producers = producersOf(model.nodes)
  const consumers = consumersOf(model.nodes)
  const ports = findPorts(model, producers)
  const found = model.nodes
    .filter(({ kind }) => kind === 'Softmax')
    .map((softmax) => readBlock(softmax, ports, producers, consumers))
  const used = new Set(found.flatMap((block) => (block ? [block.key, block.value] : [])))
  if (found.length === 0 || [...ports.values()].some((port) => !used.has(port))) return undefined
  const blocks = found.filter((block) => block !== undefined)
  return blocks.length === found.length ? blocks : undefined
}

function findPorts(model: OnnxModel, producers: ReadonlyMap<string, OnnxNode>): Map<string, CachePort> {
  const inputs = new Set(model.inputs)
  const ports = new Map<string, CachePort>()
  for (const present of model.outputs) {
    const node = producers.get(present)
    const [past, fresh] = node?.inputs ?? []
    if (node?.kind !== 'Concat' || node.inputs.length !== 2 || !past || !fresh || !inputs.has(past)) continue
    if ([2, -2].includes(node.integers.get('axis')?.[0] ?? 0)) ports.set(present, { past, fresh, present })
  }
  return ports
}

function readBlock(
  softmax: OnnxNode,
  ports: ReadonlyMap<string, CachePort>,
  producers: ReadonlyMap<string, OnnxNode>,
  consumers: ReadonlyMap<string, readonly OnnxNode[]>,
): Attention | undefined {
  const scores = readScores(softmax.inputs[0] as string, ports, producers)
  const mixed = findMix(softmax, ports, producers, consumers)
  if (!scores || !mixed) return undefined
  return { ...scores, value: mixed.port, result: mixed.result }
}

interface Scores {
  readonly query: string
  readonly key: CachePort
  readonly scales: Attention['scales']
  readonly grouped: boolean
}

/** Goes back from what a softmax takes to the product of queries and keys, past what is added to it. */
function readScores(
  value: string,
  ports: ReadonlyMap<string, CachePort>,
  producers: ReadonlyMap<string, OnnxNode>,
): Scores | undefined {
  const node = producers.get(value)
  const [first, second] = node?.inputs ?? []
  if (!node || first === undefined) return undefined
  const goOn = (input: string | undefined) =>
    input === undefined ? undefined : readScores(input, ports, producers)
  switch (node.kind) {
    case 'MatMul': {
      const keys = second === undefined ? undefined : readCache(second, ports, producers)
      return keys && { query: first, key: keys.port, scales: keys.scales, grouped: !keys.repeats }
    }
    case 'Add':
      return goOn(first) ?? goOn(second)
    case 'Reshape':
    case 'Cast':
    case 'Identity':
      return goOn(first)
    case 'Mul':
    case 'Div': {
      const divides = node.kind === 'Div'
      const before = goOn(first)
      if (before && second !== undefined)
        return { ...before, scales: [...before.scales, { by: second, divides }] }
      const after = divides ? undefined : goOn(second)
      return after && { ...after, scales: [...after.scales, { by: first, divides }] }
    }
    default:
      return undefined
  }
}

interface CacheUse {
  readonly port: CachePort
  readonly scales: Attention['scales']
  readonly repeats: boolean
}

/** Goes back from a factor of a product to the cache that it comes from. */
function readCache(
  value: string,
  ports: ReadonlyMap<string, CachePort>,
  producers: ReadonlyMap<string, OnnxNode>,
): CacheUse | undefined {
  const port = ports.get(value)
  if (port) return { port, scales: [], repeats: false }
  const node = producers.get(value)
  const [first, second] = node?.inputs ?? []
  if (!node || first === undefined) return undefined
  if (node.kind === 'Mul' && second !== undefined) {
    const before = readCache(first, ports, producers)
    return before && { ...before, scales: [...before.scales, { by: second, divides: false }] }
  }
  const copies = node.kind === 'Concat' && new Set(node.inputs).size === 1
  if (!ARRANGING.has(node.kind) && !copies) return undefined
  const before = readCache(first, ports, producers)
  return before && { ...before, repeats: before.repeats || REPEATING.has(node.kind) }
}

/** Goes on from weights of attention to their product with values. */
function findMix(
  softmax: OnnxNode,
  ports: ReadonlyMap<string, CachePort>,
  producers: ReadonlyMap<string, OnnxNode>,
  consumers: ReadonlyMap<string, readonly OnnxNode[]>,
): { port: CachePort; result: string } | undefined {
  const reached = [...softmax.outputs]
  for (const value of reached) {
    for (const node of consumers.get(value) ?? []) {
      if (node.kind === 'MatMul' && node.inputs[0] === value) {
        const values = readCache(node.inputs[1] as string, ports, producers)
        if (!values || values.scales.length > 0) return undefined
        return { port: values.port, result: node.outputs[0] as string }
      }
      if (PASSING.has(node.kind)) reached.push(...node.outputs.filter((name) => !reached.includes(name)))
    }
  }
  return undefined
}
