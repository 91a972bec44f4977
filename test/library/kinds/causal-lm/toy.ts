import assert from 'node:assert/strict'
import type { Tensor } from 'onnxruntime-node'
import type { Cache, Model, Pass } from '../../../../src/library/kinds/causal-lm/model.ts'
import type { Tokenizer } from '../../../../src/library/kinds/causal-lm/tokenizer.ts'

/*
 * A language model without numbers: what it says next depends on the whole sequence before, and on nothing else. It
 * remembers tokens where a real one keeps keys and values, so it can check that every pass makes sense.
 */

/** What the toy keeps of one column: the token, its position, and whether it was ever to be seen. */
interface Column {
  token: number
  position: number
}

export interface ToyModel extends Model {
  /** The shape of each pass: rows, new columns, cached columns. */
  readonly passes: { rows: number; width: number; cached: number }[]
}

export interface ToyOptions {
  vocabSize?: number
  /** Scores of the next token after a sequence. Default: they look random. */
  score?: (sequence: readonly number[]) => number[]
  /** Called before each pass; may throw. */
  beforePass?: (pass: Pass) => void
}

export function createToy({ vocabSize = 50, score, beforePass }: ToyOptions = {}): ToyModel {
  const passes: ToyModel['passes'] = []
  const scores = score ?? ((sequence) => scramble(sequence, vocabSize))
  const toy: ToyModel = {
    graph: {
      integers: new Map([['input_ids', 'int64']]),
      hasPositions: true,
      keepLogits: undefined,
      past: [],
      present: [],
      kvType: 'float32',
      kvHeads: 1,
      headDim: 1,
      vocabSize,
    },
    path: 'toy.onnx',
    level: 'memory',
    bytes: 0,
    passes,
    score: (pass) => toy.forward(pass).then(({ logits }) => logits),
    forward(pass) {
      beforePass?.(pass)
      const cached = pass.cache?.positions ?? 0
      passes.push({ rows: pass.rows, width: pass.width, cached })
      const past = columnsOf(pass.cache)
      const rows = Array.from({ length: pass.rows }, (_, row) => [
        ...(past?.[row] ?? []),
        ...Array.from({ length: pass.width }, (_, i): Column => {
          const at = row * pass.width + i
          return { token: pass.tokens[at]!, position: pass.positions[at]! }
        }),
      ])
      const sequences = rows.map((columns, row) => visible(columns, row, pass.mask))
      const cache = toCache(rows, cached + pass.width)
      return Promise.resolve({ logits: (row) => scores(sequences[row]!), cache })
    },
    takeRows: (cache, rows) =>
      toCache(
        rows.map((row) => columnsOf(cache)![row]!),
        cache.positions,
      ),
    close: () => Promise.resolve(),
  }
  return toy
}

/** The tokens a row may see, which must stand at positions 0, 1, 2 and so on. */
function visible(columns: readonly Column[], row: number, mask: ArrayLike<number>): number[] {
  const seen = columns.filter((_, i) => mask[row * columns.length + i] === 1)
  assert.deepEqual(
    seen.map(({ position }) => position),
    seen.map((_, i) => i),
    'positions do not count the tokens',
  )
  return seen.map(({ token }) => token)
}

function toCache(rows: Column[][], positions: number): Cache {
  for (const columns of rows) assert.equal(columns.length, positions)
  return { positions, tensors: [rows as unknown as Tensor] }
}

function columnsOf(cache: Cache | undefined): Column[][] | undefined {
  return cache?.tensors[0] as Column[][] | undefined
}

/** Scores that look random, but are always the same after the same sequence. */
export function scramble(sequence: readonly number[], vocabSize: number): number[] {
  let state = 0x9e3779b9
  for (const token of sequence) state = Math.imul(state ^ token, 0x01000193) >>> 0
  return Array.from({ length: vocabSize }, (_, token) => {
    const mixed = Math.imul(state ^ Math.imul(token + 1, 0x85ebca6b), 0xc2b2ae35)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  })
}

/** A tokenizer of characters: token 0 ends a text and has none, token 1 is a space, the others are letters. */
export const letters = '\0 abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
export const toyTokenizer: Tokenizer = {
  encode: (text) => [...text].map((letter) => letters.indexOf(letter)),
  decode: (tokens) => tokens.map((token) => (token === 0 ? '' : letters[token])).join(''),
  chat: (messages) => messages.map(({ role, content }) => `${role} ${content} `).join(''),
  endToken: 0,
}
