import type { ValueInfo } from '../graph.ts'
import { bytes, type GraphWriter, MICROSOFT, text, typeName } from '../onnx-writer.ts'
import { contentOf, fieldsOf, numbersOf, textOf } from '../protobuf.ts'

/* A graph that can be changed: its operators one by one, all else as it was read. */

/** Fields of onnx.proto. */
const MODEL = { graph: 7, opset: 8, functions: 25 }
const GRAPH = { node: 1, name: 2, weight: 5, input: 11, output: 12, valueInfo: 13 }
const NODE = { input: 1, output: 2, kind: 4, attribute: 5 }
const ATTRIBUTE = { name: 1, integer: 3, graph: 6, integers: 8, graphs: 11 }

export interface OnnxNode {
  readonly kind: string
  /** An empty name stands for one that is left out. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Attributes that are whole numbers, or lists of them. */
  readonly integers: ReadonlyMap<string, readonly number[]>
  /** The operator as a message. */
  readonly bytes: Uint8Array
}

export interface OnnxModel {
  readonly nodes: readonly OnnxNode[]
  /** Names of stored tensors. */
  readonly weights: ReadonlySet<string>
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Version of the operators' own set. */
  readonly opset: number
  /** Fields of the model, and of its graph, that are neither operators nor guesses about what they give. */
  readonly rest: readonly Uint8Array[]
  readonly graphRest: readonly Uint8Array[]
}

/**
 * Reads a model. Undefined for one that has functions or nested graphs: who uses which value cannot be told there by
 * looking at inputs and outputs.
 */
export function parseModel(model: Uint8Array): OnnxModel | undefined {
  const rest: Uint8Array[] = []
  let graph: Uint8Array = new Uint8Array(0)
  let opset = 0
  for (const field of fieldsOf(model)) {
    if (field.number === MODEL.functions) return undefined
    if (field.number === MODEL.graph) graph = contentOf(model, field)
    else rest.push(model.subarray(field.tag, field.end))
    if (field.number === MODEL.opset) opset ||= opsetOf(contentOf(model, field))
  }
  const nodes: OnnxNode[] = []
  const graphRest: Uint8Array[] = []
  const names = { weight: new Set<string>(), input: new Set<string>(), output: new Set<string>() }
  for (const field of fieldsOf(graph)) {
    const content = contentOf(graph, field)
    if (field.number === GRAPH.node) {
      const node = parseNode(content)
      if (!node) return undefined
      nodes.push(node)
    } else if (field.number !== GRAPH.valueInfo) graphRest.push(graph.subarray(field.tag, field.end))
    if (field.number === GRAPH.weight) names.weight.add(nameIn(content, 8))
    if (field.number === GRAPH.input) names.input.add(nameIn(content, 1))
    if (field.number === GRAPH.output) names.output.add(nameIn(content, 1))
  }
  return {
    nodes,
    weights: names.weight,
    inputs: [...names.input],
    outputs: [...names.output],
    opset,
    rest,
    graphRest,
  }
}

/** The model as the content of a file. */
export function encodeModel({ nodes, rest, graphRest }: OnnxModel): Uint8Array {
  const graph = Buffer.concat([...nodes.map((node) => bytes(GRAPH.node, node.bytes)), ...graphRest])
  // A set of operators may be named twice.
  const own = bytes(MODEL.opset, Buffer.concat([text(1, MICROSOFT), Uint8Array.of(2 << 3, 1)]))
  const known = rest.some((field) => Buffer.from(field).includes(MICROSOFT))
  return Buffer.concat([...rest, ...(known ? [] : [own]), bytes(MODEL.graph, graph)])
}

/** What goes into a model and what comes out, as its file says. */
export function describePorts({ graphRest, weights }: OnnxModel): {
  inputs: ValueInfo[]
  outputs: ValueInfo[]
} {
  const ports = { inputs: [] as ValueInfo[], outputs: [] as ValueInfo[] }
  for (const whole of graphRest) {
    const [field] = fieldsOf(whole)
    if (field?.number !== GRAPH.input && field?.number !== GRAPH.output) continue
    const info = parseInfo(contentOf(whole, field))
    if (field.number === GRAPH.output) ports.outputs.push(info)
    else if (!weights.has(info.name)) ports.inputs.push(info)
  }
  return ports
}

/** Appends what was written to a graph, and leaves out operators that nothing needs, each after those it needs. */
export function extend(model: OnnxModel, nodes: readonly OnnxNode[], writer: GraphWriter): OnnxModel {
  const fragment = parseModel(writer.toModel()) as OnnxModel
  const all = sortNodes([...nodes, ...fragment.nodes], model.outputs)
  return {
    ...model,
    nodes: all,
    weights: new Set([...model.weights, ...fragment.weights]),
    inputs: [...model.inputs, ...fragment.inputs],
    graphRest: [...model.graphRest, ...withoutName(fragment)],
  }
}

/**
 * A part of a model: what gives `outputs`, once the writer's inputs stand for values of the same names.
 */
export function extract(model: OnnxModel, writer: GraphWriter): OnnxModel {
  const ports = parseModel(writer.toModel()) as OnnxModel
  const given = new Set(ports.inputs)
  const nodes = model.nodes.filter(({ outputs }) => !outputs.some((name) => given.has(name)))
  const used = sortNodes(nodes, ports.outputs)
  const needed = new Set(used.flatMap(({ inputs }) => inputs))
  const open = model.inputs.filter((name) => needed.has(name) && !given.has(name) && !model.weights.has(name))
  const graphRest = model.graphRest.filter((field) => {
    const [only] = fieldsOf(field)
    if (!only || (only.number !== GRAPH.weight && only.number !== GRAPH.input))
      return only?.number === GRAPH.name
    const name = nameIn(contentOf(field, only), only.number === GRAPH.weight ? 8 : 1)
    return needed.has(name) && !given.has(name)
  })
  return {
    ...model,
    nodes: used,
    inputs: [...ports.inputs, ...open],
    outputs: ports.outputs,
    graphRest: [...graphRest, ...withoutName(ports)],
  }
}

/** A graph that becomes part of another has no name of its own. */
function withoutName({ graphRest }: OnnxModel): Uint8Array[] {
  return graphRest.filter((whole) => [...fieldsOf(whole)][0]?.number !== GRAPH.name)
}

/** Operators that the values named need, each after those whose outputs it takes. */
export function sortNodes(nodes: readonly OnnxNode[], values: readonly string[]): OnnxNode[] {
  const producers = producersOf(nodes)
  const sorted = new Set<OnnxNode>()
  const entered = new Set<OnnxNode>()
  const stack = values.map((name) => producers.get(name)).filter((node) => node !== undefined)
  while (stack.length > 0) {
    const node = stack.at(-1) as OnnxNode
    if (sorted.has(node)) {
      stack.pop()
      continue
    }
    if (entered.has(node)) {
      sorted.add(node)
      stack.pop()
      continue
    }
    entered.add(node)
    for (const input of node.inputs) {
      const producer = producers.get(input)
      if (producer && !entered.has(producer)) stack.push(producer)
    }
  }
  return [...sorted]
}

/** Which operator gives each value. */
export function producersOf(nodes: readonly OnnxNode[]): Map<string, OnnxNode> {
  return new Map(nodes.flatMap((node) => node.outputs.map((name): [string, OnnxNode] => [name, node])))
}

/** Which operators take each value. */
export function consumersOf(nodes: readonly OnnxNode[]): Map<string, OnnxNode[]> {
  const consumers = new Map<string, OnnxNode[]>()
  for (const node of nodes)
    for (const name of new Set(node.inputs)) {
      const others = consumers.get(name)
      if (others) others.push(node)
      else consumers.set(name, [node])
    }
  return consumers
}

/** The operator with other inputs. */
export function withInputs(node: OnnxNode, inputs: readonly string[]): OnnxNode {
  const kept = [...fieldsOf(node.bytes)].filter(({ number }) => number !== NODE.input)
  const rest = kept.map(({ tag, end }) => node.bytes.subarray(tag, end))
  return { ...node, inputs, bytes: Buffer.concat([...inputs.map((name) => text(NODE.input, name)), ...rest]) }
}

function parseNode(node: Uint8Array): OnnxNode | undefined {
  const texts = new Map<number, string[]>()
  const integers = new Map<string, number[]>()
  for (const field of fieldsOf(node)) {
    if (field.number === NODE.attribute) {
      const attribute = parseAttribute(contentOf(node, field))
      if (!attribute) return undefined
      integers.set(attribute.name, attribute.integers)
    } else if (field.type === 2) {
      texts.set(field.number, [...(texts.get(field.number) ?? []), textOf(node, field)])
    }
  }
  const all = (number: number) => texts.get(number) ?? []
  return {
    kind: all(NODE.kind)[0] ?? '',
    inputs: all(NODE.input),
    outputs: all(NODE.output),
    integers,
    bytes: node,
  }
}

function parseAttribute(attribute: Uint8Array): { name: string; integers: number[] } | undefined {
  const integers: number[] = []
  let name = ''
  for (const field of fieldsOf(attribute)) {
    if (field.number === ATTRIBUTE.graph || field.number === ATTRIBUTE.graphs) return undefined
    if (field.number === ATTRIBUTE.name) name = textOf(attribute, field)
    if (field.number === ATTRIBUTE.integer || field.number === ATTRIBUTE.integers)
      integers.push(...numbersOf(contentOf(attribute, field), field))
  }
  return { name, integers }
}

/** A name, and the type below it: of a tensor, of so many elements along each dimension, which has a number or a name. */
function parseInfo(info: Uint8Array): ValueInfo {
  const [tensor] = nested(info, [2, 1])
  const kinds = tensor ? [...fieldsOf(tensor)].filter(({ number }) => number === 1) : []
  const dims = tensor ? nested(tensor, [2, 1]) : []
  const shape = dims.map((dim): number | string => {
    const [field] = fieldsOf(dim)
    if (field?.number === 1) return field.value
    return field?.number === 2 ? textOf(dim, field) : ''
  })
  const type = typeName(kinds[0]?.value)
  return { name: nameIn(info, 1), isTensor: tensor !== undefined, ...(type && { type }), shape }
}

/** Messages at the end of a way through fields. */
function nested(message: Uint8Array, [number, ...way]: readonly number[]): Uint8Array[] {
  const inner = [...fieldsOf(message)].filter((field) => field.number === number)
  const contents = inner.map((field) => contentOf(message, field))
  return way.length > 0 ? contents.flatMap((content) => nested(content, way)) : contents
}

function nameIn(message: Uint8Array, number: number): string {
  const field = [...fieldsOf(message)].find((field) => field.number === number)
  return field ? textOf(message, field) : ''
}

function opsetOf(entry: Uint8Array): number {
  let version = 0
  let domain = ''
  for (const field of fieldsOf(entry)) {
    if (field.number === 1) domain = textOf(entry, field)
    if (field.number === 2) version = field.value
  }
  return domain === '' || domain === 'ai.onnx' ? version : 0
}
