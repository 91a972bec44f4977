import { type FileHandle, open } from 'node:fs/promises'

/* Reads what a graph gives from its file, skipping the weights: a runtime has to be told where to leave its outputs. */

/** Fields of onnx.proto: the graph of a model, an output of a graph, the name of either. */
const GRAPH = 7
const OUTPUT = 12
const NAME = 1
/** Longest message that is read as a whole: the description of one output, bytes. */
const OUTPUT_MAX = 1 << 20

/** Where the content of a field lies. */
interface Field {
  readonly number: number
  readonly start: number
  readonly end: number
}

/**
 * Names of the outputs of an ONNX file, in order.
 *
 * @throws {Error} when the file is no ONNX file
 */
export async function readOutputNames(path: string): Promise<string[]> {
  await using file = await open(path)
  const { size } = await file.stat()
  const names: string[] = []
  for await (const graph of fields(file, 0, size)) {
    if (graph.number !== GRAPH) continue
    for await (const output of fields(file, graph.start, graph.end)) {
      if (output.number !== OUTPUT || output.end - output.start > OUTPUT_MAX) continue
      for await (const { number, start, end } of fields(file, output.start, output.end)) {
        if (number === NAME) names.push((await read(file, start, end)).toString())
      }
    }
  }
  return names
}

/** Fields of a message, none of which is read itself. */
async function* fields(file: FileHandle, start: number, end: number): AsyncGenerator<Field> {
  let at = start
  while (at < end) {
    // A tag and a length take at most ten bytes each.
    const head = await read(file, at, Math.min(end, at + 20))
    const [tag, afterTag] = varint(head, 0)
    const number = Math.floor(tag / 8)
    const type = tag % 8
    const [value, afterValue] = type === 0 || type === 2 ? varint(head, afterTag) : [0, afterTag]
    const length = type === 0 ? 0 : type === 1 ? 8 : type === 5 ? 4 : type === 2 ? value : NaN
    const from = at + afterValue
    if (!(from + length <= end)) throw new Error('it is no ONNX file, or cut off')
    if (type === 2) yield { number, start: from, end: from + length }
    at = from + length
  }
}

async function read(file: FileHandle, start: number, end: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(end - start), 0, end - start, start)
  return buffer.subarray(0, bytesRead)
}

/** A number of seven bits a byte, least first, and where it ends. */
function varint(bytes: Uint8Array, at: number): [value: number, end: number] {
  let value = 0
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) break
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return [value, at + i + 1]
  }
  throw new Error('it is no ONNX file, or cut off')
}
