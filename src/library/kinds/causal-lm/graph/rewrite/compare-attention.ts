import type { InferenceSession, Tensor } from 'onnxruntime-node'
import type { ModelConfig } from '../../files/model-config.ts'
import type { FloatType } from '../graph.ts'
import { floatsOf, integerTensor, makeTensor } from '../tensors.ts'
import { encodeModel } from './onnx-model.ts'
import type { Rewritten } from './rewrite.ts'

/*
 * Runs attention as a graph has it, and as it was rewritten, on the same random numbers. No weights are needed for it, so
 * that it takes little time whatever the model's size; and whatever a graph does beside what was understood of it, such as
 * looking at the last columns only, shows.
 */

/** What goes into attention. */
interface Trial {
  readonly rows: number
  /** Columns that are remembered. */
  readonly past: number
  /** Columns that are new. */
  readonly width: number
  /** `rows x (past + width)`: 1, or 0 where there is only padding. */
  readonly mask: Uint8Array
}

/** Differences that are rounding. Results are means of numbers of about 1. */
export const ROUNDING: Record<FloatType, number> = { float32: 1e-4, float16: 2e-2 }
/** The longest sequence that is tried, and how many bytes its keys and values may take. */
const LONGEST = 4096
const LONGEST_BYTES = 128 << 20

/** Whether attention gives the same results before and after. */
export async function compareAttention(
  open: (model: Uint8Array) => Promise<InferenceSession>,
  { before, after, blocks }: Rewritten,
  config: ModelConfig,
): Promise<boolean> {
  const sessions = [await open(encodeModel(before)), await open(encodeModel(after))]
  try {
    for (const trial of trialsFor(blocks, config.maxPositions ?? LONGEST)) {
      const feeds = makeFeeds(trial, blocks)
      const [expected, given] = await Promise.all(sessions.map((session) => session.run(feeds(session))))
      for (const { attention, sizes } of blocks) {
        const [was, is] = [expected, given].map((outputs) => outputs?.[attention.result] as Tensor)
        if (!isSame(was as Tensor, is as Tensor, trial, sizes)) return false
      }
    }
    return true
  } finally {
    for (const session of sessions) await session.release()
  }
}

type Blocks = Rewritten['blocks']

/** Prompts padded on either side, further tokens, room that is not in use, and one token after very many. */
function trialsFor(blocks: Blocks, maxPositions: number): Trial[] {
  const perColumn = blocks.reduce(
    (sum, { sizes }) => sum + 4 * sizes.keyHeads * (sizes.keySize + sizes.valueSize),
    0,
  )
  const long = Math.max(8, Math.min(LONGEST, maxPositions, Math.floor(LONGEST_BYTES / perColumn)))
  const trial = (past: number, width: number, ...lines: string[]): Trial => ({
    rows: lines.length,
    past,
    width,
    mask: Uint8Array.from(lines.join(''), Number),
  })
  return [
    trial(0, 5, '11111', '00111', '11100'),
    trial(6, 1, '1111111', '0001111', '1110001'),
    trial(4, 3, '1111111', '0011111', '1100111'),
    { rows: 1, past: long - 1, width: 1, mask: new Uint8Array(long).fill(1) },
  ]
}

function makeFeeds({ rows, past, width, mask }: Trial, blocks: Blocks) {
  const draw = createRandom()
  const all: Record<string, Tensor> = {
    attention_mask: integerTensor('int64', mask, [rows, past + width]),
    input_ids: integerTensor('int64', new Uint8Array(rows * width), [rows, width]),
    position_ids: integerTensor(
      'int64',
      Array.from({ length: rows * width }, (_, i) => past + (i % width)),
      [rows, width],
    ),
  }
  for (const { attention, sizes } of blocks) {
    const { heads, keyHeads, keySize, valueSize, type } = sizes
    const { query, key, value, grouped } = attention
    const add = (name: string, dims: number[]) => (all[name] ??= randomTensor(type, dims, draw))
    add(
      query,
      grouped ? [rows, keyHeads, (heads / keyHeads) * width, keySize] : [rows, heads, width, keySize],
    )
    add(key.past, [rows, keyHeads, past, keySize])
    add(key.fresh, [rows, keyHeads, width, keySize])
    add(value.past, [rows, keyHeads, past, valueSize])
    add(value.fresh, [rows, keyHeads, width, valueSize])
  }
  return ({ inputNames }: InferenceSession) =>
    Object.fromEntries(inputNames.map((name) => [name, all[name] as Tensor]))
}

/** Whether results are the same for tokens that are none of the padding. */
function isSame(
  was: Tensor,
  is: Tensor,
  { rows, past, width, mask }: Trial,
  { type, valueSize }: Blocks[number]['sizes'],
): boolean {
  const [expected, given] = [floatsOf(was), floatsOf(is)]
  if (expected.length !== given.length || was.dims.join() !== is.dims.join()) return false
  const perRow = expected.length / rows
  for (let i = 0; i < expected.length; i++) {
    const row = Math.floor(i / perRow)
    const column = Math.floor((i % perRow) / valueSize) % width
    if (mask[row * (past + width) + past + column] === 0) continue
    if (!(Math.abs((expected[i] as number) - (given[i] as number)) <= ROUNDING[type])) return false
  }
  return true
}

function randomTensor(type: FloatType, dims: readonly number[], draw: () => number): Tensor {
  const length = dims.reduce((a, b) => a * b, 1)
  const numbers = Float32Array.from({ length }, draw)
  return makeTensor(
    type,
    type === 'float16' ? new Uint16Array(new Float16Array(numbers).buffer) : numbers,
    dims,
  )
}

/** Numbers from -1.7 to 1.7, of a deviation of 1, the same each time: a linear congruential generator of Numerical Recipes. */
function createRandom(): () => number {
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state / 2 ** 31 - 1) * Math.sqrt(3)
  }
}
