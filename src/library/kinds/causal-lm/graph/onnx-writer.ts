/*
 * Writes ONNX graphs: the few messages of onnx.proto that a small graph needs, as protocol buffers. Field numbers are
 * those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
 */

/** Element types, by their numbers in onnx.proto. */
const TYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
} as const
export type OnnxType = keyof typeof TYPES

/** Name of an element type, given its number in onnx.proto; undefined for one that nothing here has to do with. */
export function typeName(number: number | undefined): OnnxType | undefined {
  return (Object.keys(TYPES) as OnnxType[]).find((name) => TYPES[name] === number)
}

/** A dimension: its size, or a name where it varies. */
export type Dimension = number | string

export type Attribute = number | string | readonly number[] | { readonly float: number } | GraphWriter

/** Where the bytes of a weight lie that is not stored in the graph's own file. */
export interface ExternalBytes {
  /** File name beside the graph. */
  readonly location: string
  readonly offset: number
  readonly length: number
}

/** Version of the operator set that graphs are written in. */
const OPSET = 17
/** Version of the format itself. */
const IR_VERSION = 8
/** Where operators live that are ONNX Runtime's own. */
export const MICROSOFT = 'com.microsoft'

/** A graph under construction. Operators are appended in order; values are known by their names. */
export class GraphWriter {
  readonly #nodes: Uint8Array[] = []
  readonly #weights: Uint8Array[] = []
  readonly #inputs: Uint8Array[] = []
  readonly #outputs: Uint8Array[] = []
  readonly #constants = new Set<string>()
  readonly #prefix: string
  #count = 0

  /** @param prefix begins the names of all values; a subgraph needs one of its own */
  constructor(prefix = '') {
    this.#prefix = prefix
  }

  input(name: string, type: OnnxType, shape: readonly Dimension[]): string {
    this.#inputs.push(valueInfo(name, type, shape))
    return name
  }

  output(name: string, type: OnnxType, shape: readonly Dimension[]): string {
    this.#outputs.push(valueInfo(name, type, shape))
    return name
  }

  /** A stored tensor: its bytes, or where they lie. */
  weight(
    name: string,
    type: OnnxType,
    dims: readonly number[],
    data: ArrayBufferView | ExternalBytes,
  ): string {
    this.#weights.push(bytes(5, encodeTensor(name, TYPES[type], dims, data)))
    return name
  }

  /** A list of whole numbers, int64. */
  integers(...values: number[]): string {
    return this.#constant('ints', values, [values.length])
  }

  /** One whole number, int64, without dimensions. */
  integer(value: number): string {
    return this.#constant('int', [value], [])
  }

  /** One number, float32, without dimensions. */
  float(value: number): string {
    const name = `${this.#prefix}float_${value}`
    if (!this.#constants.has(name)) this.weight(name, 'float32', [], Float32Array.of(value))
    this.#constants.add(name)
    return name
  }

  #constant(kind: string, values: number[], dims: number[]): string {
    const name = `${this.#prefix}${kind}_${values.join('_')}`
    if (!this.#constants.has(name)) this.weight(name, 'int64', dims, BigInt64Array.from(values, BigInt))
    this.#constants.add(name)
    return name
  }

  /** Appends an operator of one output, and returns its name. */
  op(
    kind: string,
    inputs: readonly string[],
    attributes: Record<string, Attribute> = {},
    as?: string,
  ): string {
    const name = as ?? this.#fresh(kind)
    this.node(kind, inputs, [name], attributes)
    return name
  }

  /** The same of several outputs. */
  ops(
    kind: string,
    inputs: readonly string[],
    count: number,
    attributes: Record<string, Attribute> = {},
  ): string[] {
    const names = Array.from({ length: count }, () => this.#fresh(kind))
    this.node(kind, inputs, names, attributes)
    return names
  }

  /** Appends an operator whose outputs have names already; an empty name stands for an input or output left out. */
  node(
    kind: string,
    inputs: readonly string[],
    outputs: readonly string[],
    { domain, ...attributes }: Record<string, Attribute> = {},
  ): void {
    this.#nodes.push(
      bytes(
        1,
        concat([
          ...inputs.map((name) => text(1, name)),
          ...outputs.map((name) => text(2, name)),
          text(3, `${this.#prefix}node_${this.#nodes.length}`),
          text(4, kind),
          ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
          ...(typeof domain === 'string' ? [text(7, domain)] : []),
        ]),
      ),
    )
  }

  #fresh(kind: string): string {
    return `${this.#prefix}${kind.toLowerCase()}_${this.#count++}`
  }

  /** The graph as a message, as another graph takes it. */
  toGraph(): Uint8Array {
    return concat([
      ...this.#nodes,
      text(2, `${this.#prefix}graph`),
      ...this.#weights,
      ...this.#inputs.map((info) => bytes(11, info)),
      ...this.#outputs.map((info) => bytes(12, info)),
    ])
  }

  /** The graph as the content of a file. */
  toModel(): Uint8Array {
    const opset = (domain: string, version: number) => bytes(8, concat([text(1, domain), varint(2, version)]))
    return concat([varint(1, IR_VERSION), bytes(7, this.toGraph()), opset('', OPSET), opset(MICROSOFT, 1)])
  }
}

function valueInfo(name: string, type: OnnxType, shape: readonly Dimension[]): Uint8Array {
  const dims = shape.map((dim) => bytes(1, typeof dim === 'number' ? varint(1, dim) : text(2, dim)))
  const tensor = concat([varint(1, TYPES[type]), bytes(2, concat(dims))])
  return concat([text(1, name), bytes(2, bytes(1, tensor))])
}

function attribute(name: string, value: Attribute): Uint8Array {
  const [type, content] = attributeContent(value)
  return concat([text(1, name), content, varint(20, type)])
}

function attributeContent(value: Attribute): [type: number, content: Uint8Array] {
  if (value instanceof GraphWriter) return [5, bytes(6, value.toGraph())]
  if (typeof value === 'number') return [2, varint(3, value)]
  if (typeof value === 'string') return [3, text(4, value)]
  if ('float' in value) {
    const field = new Uint8Array(5)
    field[0] = (2 << 3) | 5
    new DataView(field.buffer).setFloat32(1, value.float, true)
    return [1, field]
  }
  return [7, concat(value.map((one) => varint(8, one)))]
}

/**
 * A stored tensor as a message.
 *
 * @param type of its elements, by its number in onnx.proto
 */
export function encodeTensor(
  name: string,
  type: number,
  dims: readonly number[],
  data: ArrayBufferView | ExternalBytes,
): Uint8Array {
  const content = ArrayBuffer.isView(data)
    ? [bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))]
    : [
        ...Object.entries({
          location: data.location,
          offset: `${data.offset}`,
          length: `${data.length}`,
        }).map(([key, value]) => bytes(13, concat([text(1, key), text(2, value)]))),
        varint(14, 1),
      ]
  return concat([...dims.map((dim) => varint(1, dim)), varint(2, type), text(8, name), ...content])
}

function varint(field: number, value: number): Uint8Array {
  return concat([encodeVarint(field << 3), encodeVarint(value)])
}

export function text(field: number, value: string): Uint8Array {
  return bytes(field, Buffer.from(value))
}

/** A field of bytes, or of a message. */
export function bytes(field: number, content: Uint8Array): Uint8Array {
  return concat([encodeVarint((field << 3) | 2), encodeVarint(content.length), content])
}

function encodeVarint(value: number): Uint8Array {
  const groups: number[] = []
  let left = BigInt.asUintN(64, BigInt(value))
  do {
    const group = Number(left & 0x7fn)
    left >>= 7n
    groups.push(left > 0n ? group | 0x80 : group)
  } while (left > 0n)
  return Uint8Array.from(groups)
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts)
}
