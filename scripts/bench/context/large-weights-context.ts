import { encodeModel } from './write-onnx.ts'

/*
 * A context whose weights are large against its compute, as those of language models are: a table of embeddings of which a
 * claim touches a few rows, and a small network over them. The weights are random: only what they cost matters here.
 */

export const NAME = 'verifier'
const WIDTH = 256
const HIDDEN = 8192
const LABELS = ['SUPPORTS', 'REFUTES', 'NOT ENOUGH INFO']

/**
 * The files of a context folder, by path. A task is a list of claims, its result the list of their labels.
 *
 * @param weightBytes size of the table
 */
export function verifierContext(weightBytes: number): Record<string, string | Uint8Array> {
  const rows = Math.floor(weightBytes / Float32Array.BYTES_PER_ELEMENT / WIDTH)
  const random = randomFloats(1)
  const model = encodeModel({
    input: 'tokens',
    output: { name: 'votes', dims: ['length', LABELS.length] },
    weights: [
      { name: 'embeddings', dims: [rows, WIDTH], data: random(rows * WIDTH) },
      { name: 'inner', dims: [WIDTH, HIDDEN], data: random(WIDTH * HIDDEN) },
      { name: 'outer', dims: [HIDDEN, LABELS.length], data: random(HIDDEN * LABELS.length) },
    ],
    operators: [
      { type: 'Gather', inputs: ['embeddings', 'tokens'], output: 'words' },
      { type: 'MatMul', inputs: ['words', 'inner'], output: 'mixed' },
      { type: 'Tanh', inputs: ['mixed'], output: 'active' },
      { type: 'MatMul', inputs: ['active', 'outer'], output: 'votes' },
    ],
  })
  return { 'context.yaml': YAML, 'app/verify.mjs': moduleText(rows), 'app/model.onnx': model }
}

const YAML = `
name: ${NAME}
library: module
bundles: { app: ./app }
setup: { bundle: app, file: verify.mjs, call: load }
functions: { verify: { export: verify } }
`

/** The module takes ONNX Runtime from the runtime that its library runs on. */
const moduleText = (rows: number) => `
import { createRequire } from 'node:module'
import { join } from 'node:path'

const { InferenceSession, Tensor } = createRequire(process.argv[1])('onnxruntime-node')
const LABELS = ${JSON.stringify(LABELS)}

export const load = () =>
  InferenceSession.create(join(import.meta.dirname, 'model.onnx'), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  })

export async function verify(claims, session) {
  const labels = []
  for (const claim of claims) labels.push(await label(claim, session))
  return labels
}

async function label(claim, session) {
  const words = BigInt64Array.from(claim.split(' '), (word) => BigInt(row(word)))
  const { votes } = await session.run({ tokens: new Tensor('int64', words, [words.length]) })
  const sums = LABELS.map(() => 0)
  votes.data.forEach((vote, i) => (sums[i % LABELS.length] += vote))
  return LABELS[sums.indexOf(Math.max(...sums))]
}

function row(word) {
  let hash = 0x811c9dc5
  for (const letter of word) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193) >>> 0
  return hash % ${rows}
}
`

/** Makes arrays of small numbers around 0 that look random, and are always the same. */
function randomFloats(seed: number): (count: number) => Float32Array {
  let state = seed
  return (count) => {
    const floats = new Float32Array(count)
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      floats[i] = state / 2 ** 33 - 0.25
    }
    return floats
  }
}
