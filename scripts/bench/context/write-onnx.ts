/*
 * Just enough of the ONNX format (protobuf) to write a graph of plain operators over float tensors.
 * Field numbers are those of onnx.proto.
 */

const FLOAT = 1
const INT64 = 7
/** Version 8 of the format, and the operators of set 13: any onnxruntime of the last years reads them. */
const IR_VERSION = 8
const OPSET = 13

export interface Weights {
  name: string
  dims: number[]
  data: Float32Array
}

export interface Operator {
  type: string
  inputs: string[]
  output: string
}

export interface Graph {
  /** The one input: a vector of token numbers, of any length. */
  input: string
  /** The one output, a matrix of floats. */
  output: { name: string; dims: (number | string)[] }
  weights: Weights[]
  operators: Operator[]
}

/** A graph as the bytes of a `.onnx` file. */
export function encodeModel({ input, output, weights, operators }: Graph): Buffer {
  const graph = [
    ...operators.map((operator) => message(1, operatorFields(operator))),
    text(2, 'graph'),
    ...weights.map((tensor) => message(5, tensorFields(tensor))),
    message(11, valueFields(input, INT64, ['length'])),
    message(12, valueFields(output.name, FLOAT, output.dims)),
  ]
  const opset = [text(1, ''), number(2, OPSET)]
  return Buffer.concat([number(1, IR_VERSION), message(7, graph), message(8, opset)])
}

function operatorFields({ type, inputs, output }: Operator): Buffer[] {
  return [...inputs.map((name) => text(1, name)), text(2, output), text(4, type)]
}

function tensorFields({ name, dims, data }: Weights): Buffer[] {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return [...dims.map((dim) => number(1, dim)), number(2, FLOAT), text(8, name), bytes(9, raw)]
}

function valueFields(name: string, type: number, dims: (number | string)[]): Buffer[] {
  const shape = dims.map((dim) => message(1, [typeof dim === 'number' ? number(1, dim) : text(2, dim)]))
  const tensor = [number(1, type), message(2, shape)]
  return [text(1, name), message(2, [message(1, tensor)])]
}

function varint(value: number): Buffer {
  const out: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...out, rest])
    out.push((rest % 128) + 128)
  }
}

const number = (field: number, value: number) => Buffer.concat([varint(field * 8), varint(value)])
const bytes = (field: number, data: Buffer) =>
  Buffer.concat([varint(field * 8 + 2), varint(data.length), data])
const text = (field: number, value: string) => bytes(field, Buffer.from(value))
const message = (field: number, fields: Buffer[]) => bytes(field, Buffer.concat(fields))
