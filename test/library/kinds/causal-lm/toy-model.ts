import assert from 'node:assert/strict'
import type { Tensor } from 'onnxruntime-node'
import type { ColumnScores, Pass } from '../../../../src/library/kinds/causal-lm/graph/forward-pass.ts'
import type { Model } from '../../../../src/library/kinds/causal-lm/graph/model.ts'
import {
  HostScores,
  hostScores,
  type TokenScores,
} from '../../../../src/library/kinds/causal-lm/graph/scores.ts'
import type { Abilities } from '../../../../src/library/kinds/causal-lm/graph/batching-probe.ts'
import type { State } from '../../../../src/library/kinds/causal-lm/graph/kv-cache.ts'
import type { Tokenizer } from '../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'

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
  /** The shape of each pass: rows, new columns, columns before. */
  readonly passes: { rows: number; width: number; cached: number }[]
  /** How often all scores of a pass were brought from the device. */
  readonly brought: () => number
}

export interface ToyOptions {
  vocabSize?: number
  /** Has scores lie on a device, and only the likeliest token be known. */
  isFar?: boolean
  /** Scores of the next token after a sequence. Default: they look random. */
  score?: (sequence: readonly number[]) => number[]
  /** Called before each pass; may throw. */
  beforePass?: (pass: Pass) => void
  /** Refuses what a model with these abilities would get wrong. */
  abilities?: Abilities
  longAfter?: number
}

/** All that the toy can do. */
export const able: Abilities = { prompts: 'end', steps: 'end', starts: 'end', drafts: true }

export function createToy(options: ToyOptions = {}): ToyModel {
  const { vocabSize = 50, isFar = false, score, beforePass, abilities = able } = options
  const passes: ToyModel['passes'] = []
  const scores = score ?? ((sequence: readonly number[]) => scramble(sequence, vocabSize))
  let brought = 0
  const farScores = (all: (row: number, column: number) => number[]): ColumnScores => {
    let isHere = false
    const at = (row: number, column: number): TokenScores => {
      const scores = new HostScores(all(row, column))
      if (isHere) return scores
      return {
        best: scores.best,
        get all() {
          return assert.fail('the scores are on the device')
        },
      }
    }
    const bring = () => {
      isHere = true
      brought += 1
      return Promise.resolve()
    }
    return { at, bring }
  }
  const look = (pass: Pass) => {
    beforePass?.(pass)
    assert.equal(pass.state.rows, pass.rows)
    passes.push({ rows: pass.rows, width: pass.width, cached: pass.state.columns })
    const rows = columnsOf(pass.state).map((before, row) => [...before, ...newColumns(pass, row)])
    // Where rows lie at the start, each puts its next token after its own last one.
    if (pass.width === 1 && abilities.steps === 'start' && pass.state.columns > 0) {
      rows.forEach((columns, row) => {
        const length = maskOf(pass, row).filter(Boolean).length
        columns.splice(length - 1, 1, columns.at(-1)!)
      })
    }
    checkPass(pass, options)
    const logits = (row: number, column: number) => {
      const end = pass.width === 1 ? Infinity : pass.state.columns + column + 1
      assert.ok(pass.width - column <= pass.scored, 'scores were not asked for')
      return scores(
        visible(rows[row]!, row, pass.mask)
          .filter((_, i, seen) => seen[i]!.at < end)
          .map(({ token }) => token),
      )
    }
    return { scores: isFar ? farScores(logits) : hostScores(logits), rows }
  }
  return {
    graph: {
      integers: new Map([['input_ids', 'int64']]),
      hasMask: true,
      hasBranches: false,
      hasPositions: true,
      keepLogits: undefined,
      state: [],
      logitsType: 'float32',
      vocabSize,
    },
    path: 'toy.onnx',
    level: 'memory',
    bytes: 0,
    inPlace: false,
    passes,
    brought: () => brought,
    crossed: { passes: 0, there: 0, back: 0 },
    store: {
      room: () => undefined,
      discard: () => {},
      advance: () => assert.fail('its passes give whole states'),
      release: () => {},
      blank: (rows) =>
        toState(
          Array.from({ length: rows }, () => []),
          0,
        ),
      arrange: (picks, columns) =>
        Promise.resolve(
          toState(
            picks.map(({ source, row, from, to, count }) => {
              const taken = Array<Column>(columns).fill(NOTHING)
              taken.splice(to, count, ...columnsOf(source)[row]!.slice(from, from + count))
              return taken
            }),
            columns,
          ),
        ),
    },
    score: (pass) =>
      Promise.resolve(pass)
        .then(look)
        .then(({ scores }) => scores),
    forward: (pass) =>
      Promise.resolve(pass)
        .then(look)
        .then(({ scores, rows }) => ({ scores, state: toState(rows, pass.state.columns + pass.width) })),
    close: () => Promise.resolve(),
  }
}

function newColumns({ tokens, positions, width }: Pass, row: number): Column[] {
  return Array.from({ length: width }, (_, i) => ({
    token: tokens[row * width + i]!,
    position: positions[row * width + i]!,
  }))
}

function maskOf({ mask, state, width }: Pass, row: number): number[] {
  const columns = state.columns + width
  return Array.from({ length: columns }, (_, i) => mask[row * columns + i]!)
}

/** What lies where no token does. */
const NOTHING: Column = { token: -1, position: -1 }

/** The tokens a row may see, and their columns: side by side, at positions 0, 1, 2 and so on. */
function visible(columns: readonly Column[], row: number, mask: ArrayLike<number>) {
  const seen = columns
    .map(({ token, position }, at) => ({ token, position, at }))
    .filter(({ at }) => mask[row * columns.length + at] === 1)
  seen.forEach(({ position, at }, i) => {
    assert.equal(position, i, 'positions do not count the tokens')
    assert.equal(at, seen[0]!.at + i, 'the tokens of a row are apart')
  })
  return seen
}

/** What a model of few abilities would get wrong. */
function checkPass(pass: Pass, { abilities = able, longAfter = Infinity }: ToyOptions): void {
  const { rows, width, state } = pass
  const columns = state.columns + width
  // Drafts differ in length: what a row does not need lies behind its own.
  const drafts = abilities.drafts && state.columns > 0 && width > 1 && pass.scored === width
  const lengths = Array.from({ length: rows }, (_, row) => {
    const own = maskOf(pass, row)
    const length = own.filter(Boolean).length
    if (length < columns && !drafts)
      assert.equal(own.indexOf(1), side() === 'start' ? 0 : columns - length, 'on the wrong side')
    return length
  })
  function side() {
    return state.columns === 0
      ? abilities.prompts
      : width === 1 && abilities.steps !== 'together'
        ? abilities.steps
        : 'end'
  }
  const way = state.columns === 0 ? abilities.prompts : width === 1 || drafts ? undefined : abilities.starts
  if (way === 'one') assert.equal(rows, 1)
  if (way === 'equal') assert.ok(lengths.every((length) => length === columns))
  const longest = Math.max(...lengths)
  if (longest <= longAfter) assert.ok(columns <= longAfter, 'padding makes a short pass a long one')
  else
    assert.ok(
      lengths.every((length) => length > longAfter),
      'short rows are in a long pass',
    )
}

function toState(rows: Column[][], columns: number): State {
  for (const row of rows) assert.equal(row.length, columns)
  return { rows: rows.length, columns, capacity: columns, tensors: [rows as unknown as Tensor] }
}

function columnsOf(state: State): Column[][] {
  return (state.tensors[0] as unknown as Column[][]).map((columns) => columns.slice(0, state.columns))
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
  chat: (messages) => messages.map(({ role, content }) => `${role} ${content as string} `).join(''),
  endToken: 0,
  padToken: undefined,
  candidates: () => Array.from(letters, (_, token) => token),
  encodePair: (text) => ({ tokens: toyTokenizer.encode(text, true), types: [] }),
}
