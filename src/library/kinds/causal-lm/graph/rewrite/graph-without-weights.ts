import { open } from 'node:fs/promises'
import { basename } from 'node:path'
import { bytes, encodeTensor } from '../onnx-writer.ts'
import { type Field, FileWindow, numbersOf } from '../protobuf.ts'

/*
 * Reads a graph without its weights: what is large stays in its file, and the graph refers to the place. A runtime that is
 * given the graph maps the weights from there, as if nothing had been done.
 */

/** Fields of onnx.proto: of a model its graph; of a graph its weights; of a weight its size, type, name and content. */
const GRAPH = 7
const WEIGHT = 5
const DIMS = 1
const TYPE = 2
const NAME = 8
const RAW = 9
/** Contents in lists of numbers, not bytes: floats, 32 bits, strings, 64 bits, doubles and unsigned ones. */
const LISTS = [4, 5, 6, 7, 10, 11]

/** Contents up to this stay where they are: sizes and small tables, which a change of the graph may have to know. */
const SMALL = 4096
/** Graphs whose operators alone are larger than this are not read, bytes. */
const LARGEST = 64 << 20

/**
 * The content of an ONNX file, with its large weights left where they are. Undefined for one that is too large without
 * them, or keeps them in lists, which cannot be referred to.
 *
 * @throws {Error} when the file is no ONNX file
 */
export async function readSkeleton(path: string): Promise<Uint8Array | undefined> {
  await using file = await open(path)
  const { size } = await file.stat()
  const window = new FileWindow(file)
  const model: Uint8Array[] = []
  let total = 0
  const keep = async (parts: Uint8Array[], { tag, end }: Field): Promise<boolean> => {
    total += end - tag
    if (total <= LARGEST) parts.push(await window.read(tag, end))
    return total <= LARGEST
  }
  for await (const field of window.fields(0, size)) {
    if (field.number !== GRAPH) {
      if (!(await keep(model, field))) return undefined
      continue
    }
    const graph: Uint8Array[] = []
    for await (const part of window.fields(field.start, field.end)) {
      if (part.number !== WEIGHT || part.end - part.start <= SMALL) {
        if (!(await keep(graph, part))) return undefined
        continue
      }
      const weight = await refer(window, part, basename(path))
      if (!weight) return undefined
      graph.push(bytes(WEIGHT, weight))
    }
    model.push(bytes(GRAPH, Buffer.concat(graph)))
  }
  return Buffer.concat(model)
}

/** A weight that says where in the file its content lies; one that lies in another file stays as it is. */
async function refer(window: FileWindow, whole: Field, location: string): Promise<Uint8Array | undefined> {
  const dims: number[] = []
  let type = 0
  let name = ''
  let content: Field | undefined
  for await (const field of window.fields(whole.start, whole.end)) {
    if (LISTS.includes(field.number)) return undefined
    if (field.number === TYPE) type = field.value
    if (field.number === RAW) content = field
    if (field.number === NAME) name = Buffer.from(await window.read(field.start, field.end)).toString()
    if (field.number === DIMS) dims.push(...numbersOf(await window.read(field.start, field.end), field))
  }
  if (!content) return window.read(whole.start, whole.end)
  const length = content.end - content.start
  return encodeTensor(name, type, dims, { location, offset: content.start, length })
}
