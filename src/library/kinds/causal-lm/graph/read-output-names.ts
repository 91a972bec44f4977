import { open } from 'node:fs/promises'
import { FileWindow, textOf, fieldsOf } from './protobuf.ts'

/* Reads what a graph gives from its file, skipping the weights: a runtime has to be told where to leave its outputs. */

/** Fields of onnx.proto: the graph of a model, an output of a graph, the name of either. */
const GRAPH = 7
const OUTPUT = 12
const NAME = 1
/** Longest message that is read as a whole: the description of one output, bytes. */
const OUTPUT_MAX = 1 << 20

/**
 * Names of the outputs of an ONNX file, in order.
 *
 * @throws {Error} when the file is no ONNX file
 */
export async function readOutputNames(path: string): Promise<string[]> {
  await using file = await open(path)
  const { size } = await file.stat()
  const window = new FileWindow(file)
  const names: string[] = []
  for await (const graph of window.fields(0, size)) {
    if (graph.number !== GRAPH) continue
    for await (const output of window.fields(graph.start, graph.end)) {
      if (output.number !== OUTPUT || output.end - output.start > OUTPUT_MAX) continue
      const info = await window.read(output.start, output.end)
      for (const field of fieldsOf(info)) if (field.number === NAME) names.push(textOf(info, field))
    }
  }
  return names
}
