import type * as Runtime from 'onnxruntime-node'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { dirname } from 'node:path'
import type { ModelConfig } from '../../files/model-config.ts'
import { type Graph, readGraph } from '../graph.ts'
import { toScores } from '../tensor-rows.ts'
import { blankPort, integerTensor } from '../tensors.ts'
import { compareAttention, ROUNDING } from './compare-attention.ts'
import { KEPT_COLUMNS } from './last-columns.ts'
import { describePorts, encodeModel, parseModel } from './onnx-model.ts'
import { rewriteGraph } from './rewrite.ts'
import { readSkeleton } from './graph-without-weights.ts'

/**
 * Opens a graph rewritten so that its cache stays in place, once its attention has shown to give the same numbers as the
 * graph's own. Undefined where it does not, or where the graph is none of those that can be rewritten.
 */
export async function openRewritten(
  runtime: typeof Runtime,
  path: string,
  config: ModelConfig,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession | undefined> {
  try {
    const skeleton = await readSkeleton(path)
    const model = skeleton && parseModel(skeleton)
    if (!model) return undefined
    const { inputs, outputs } = describePorts(model)
    const graph = readGraph(path, inputs, outputs, config)
    const rewritten = rewriteGraph(model, graph, config.heads)
    if (!rewritten) return undefined
    const beside: InferenceSession.SessionOptions = {
      ...options,
      extra: { session: { model_external_initializers_file_folder_path: dirname(path) } },
    }
    const open = (bytes: Uint8Array) => runtime.InferenceSession.create(bytes, beside)
    if (!(await compareAttention(open, rewritten, config))) return undefined
    const narrowed = rewritten.narrowed && (await open(encodeModel(rewritten.narrowed)))
    if (narrowed && (await givesLastColumns(narrowed, graph))) return narrowed
    await narrowed?.release()
    return await open(encodeModel(rewritten.model))
  } catch {
    // Whatever the reason, the graph as it was exported has the first and the last word: it runs, or says why not.
    return undefined
  }
}

/** Rows and columns of a trial. */
const ROWS = 2
const WIDTH = 3

/** Whether a graph scores a last column alone as it does with those before it. */
async function givesLastColumns(session: InferenceSession, graph: Graph): Promise<boolean> {
  const tokens = Array.from({ length: ROWS * WIDTH }, (_, i) => i % graph.vocabSize)
  const integers = (name: string, values: readonly number[]) =>
    integerTensor(graph.integers.get(name) ?? 'int64', values, [ROWS, WIDTH])
  const feeds: Record<string, Tensor> = {
    input_ids: integers('input_ids', tokens),
    attention_mask: integers('attention_mask', Array<number>(ROWS * WIDTH).fill(1)),
    position_ids: integers(
      'position_ids',
      tokens.map((_, i) => i % WIDTH),
    ),
  }
  for (const port of graph.state) feeds[port.input] = blankPort(port, ROWS)
  const score = async (columns: number) => {
    const kept = integerTensor('int64', [columns], [1])
    const { logits } = await session.run({ ...feeds, [KEPT_COLUMNS]: kept }, ['logits'], {
      logSeverityLevel: 4,
    })
    return logits as Tensor
  }
  try {
    const whole = toScores(await score(WIDTH), ROWS)
    const last = toScores(await score(1), ROWS)
    const limit = ROUNDING[graph.logitsType]
    return [0, 1].every((row) =>
      Array.from(whole(row)).every(
        (value, i) => Math.abs(value - (last(row)[i] as number)) <= limit * (1 + Math.abs(value)),
      ),
    )
  } catch {
    return false
  }
}
