import type { GraphWriter } from '../onnx-writer.ts'
import {
  consumersOf,
  type OnnxModel,
  type OnnxNode,
  producersOf,
  sortNodes,
  withInputs,
} from './onnx-model.ts'

/*
 * Scores are computed for the columns alone that are asked for: what only they need, such as the head of the model, and
 * the layers' last operators, is given only those columns.
 */

/** The input that says for how many columns, from the end, scores are wanted. */
export const KEPT_COLUMNS = 'logits_to_keep'

/** Operators that treat each column by itself, whatever else they take being the same for all columns. */
const ELEMENTWISE = new Set([
  ...['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Sqrt', 'Reciprocal', 'Neg', 'Abs', 'Exp', 'Min', 'Max', 'Where'],
  ...[
    'Sigmoid',
    'Tanh',
    'Erf',
    'Relu',
    'Gelu',
    'FastGelu',
    'QuickGelu',
    'Silu',
    'Swish',
    'HardSwish',
    'Softplus',
  ],
  ...['Cast', 'Identity', 'Clip'],
])
const BY_COLUMN = new Set([
  ...['MatMul', 'MatMulNBits', 'LayerNormalization', 'RMSNormalization', 'SimplifiedLayerNormalization'],
  ...['SkipLayerNormalization', 'SkipSimplifiedLayerNormalization', 'ReduceMean', 'Split'],
])

/**
 * Narrows what leads to `logits` alone to the last columns.
 *
 * @returns the graph's operators; undefined where the whole of it leads to more than that
 */
export function keepLastColumns(
  model: OnnxModel,
  nodes: readonly OnnxNode[],
  g: GraphWriter,
): readonly OnnxNode[] | undefined {
  const narrow = findNarrow(model, nodes)
  if (narrow.size === 0) return undefined
  const producers = producersOf(nodes)
  const fixed = fixedValues(model, nodes)
  const kept = g.input(KEPT_COLUMNS, 'int64', [1])
  const start = g.op('Neg', [kept])
  const end = g.integers(Number.MAX_SAFE_INTEGER)
  const taken = new Map<string, string>()
  const take = (value: string): string => {
    const producer = producers.get(value)
    if (value === '' || fixed.has(value) || (producer && narrow.has(producer))) return value
    const known = taken.get(value)
    if (known !== undefined) return known
    const last = g.op('Slice', [value, start, end, g.integers(1)])
    taken.set(value, last)
    return last
  }
  return nodes.map((node) => (narrow.has(node) ? withInputs(node, node.inputs.map(take)) : node))
}

/** Operators that treat columns one by one, and that nothing but `logits` needs. */
function findNarrow(model: OnnxModel, nodes: readonly OnnxNode[]): Set<OnnxNode> {
  const consumers = consumersOf(nodes)
  const fixed = fixedValues(model, nodes)
  const narrow = new Set<OnnxNode>()
  for (const node of sortNodes(nodes, ['logits']).reverse()) {
    const needed = node.outputs.filter((name) => name !== '')
    const alone = needed.every((name) =>
      name === 'logits'
        ? !consumers.has(name)
        : !model.outputs.includes(name) && (consumers.get(name) ?? []).every((one) => narrow.has(one)),
    )
    if (alone && treatsColumnsAlone(node, fixed)) narrow.add(node)
  }
  return narrow
}

function treatsColumnsAlone({ kind, inputs, integers }: OnnxNode, fixed: ReadonlySet<string>): boolean {
  const [first = '', ...others] = inputs
  const varying = inputs.filter((name) => name !== '' && !fixed.has(name))
  if (ELEMENTWISE.has(kind)) return varying.length > 0
  if (!BY_COLUMN.has(kind) || fixed.has(first)) return false
  const axes = integers.get('axes') ?? integers.get('axis') ?? [-1]
  if (kind === 'ReduceMean' || kind === 'Split') {
    const last = axes.every((axis) => axis === -1 || axis === 2)
    const kept = kind === 'Split' || (integers.get('keepdims')?.[0] ?? 1) === 1
    // From a later version of the operators on, axes are an input, which cannot be looked at as easily.
    return (
      last &&
      kept &&
      integers.has(kind === 'Split' ? 'axis' : 'axes') &&
      others.every((name) => fixed.has(name))
    )
  }
  if (kind.endsWith('Normalization')) return axes.every((axis) => axis === -1 || axis === 2)
  return others.every((name) => fixed.has(name))
}

/** Values that are the same whatever goes in. */
function fixedValues(model: OnnxModel, nodes: readonly OnnxNode[]): Set<string> {
  const fixed = new Set(model.weights)
  for (const node of sortNodes(nodes, model.outputs)) {
    if (node.inputs.every((name) => name === '' || fixed.has(name)))
      for (const name of node.outputs) fixed.add(name)
  }
  return fixed
}
