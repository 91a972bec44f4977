import { open } from 'node:fs/promises'
import type { DecoderShape } from '../../../test/support/models/decoder.ts'

/*
 * Writes a model of llama.cpp's format, GGUF version 3, with random weights: a Llama of the given shape, tied embeddings,
 * and a vocabulary of names without meaning. See https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
 */

/** Numbers of types in the format: of metadata, and of tensors. */
const META = { uint32: 4, float32: 6, string: 8, array: 9, int32: 5 }
const TENSOR = { f32: 0, f16: 1, q8: 8 }
const ALIGNMENT = 32
/** Weights that share a scale in q8. */
const BLOCK = 32

interface TensorPlan {
  name: string
  /** Inputs first. */
  dims: number[]
  type: keyof typeof TENSOR
}

export async function writeGguf(path: string, shape: DecoderShape, type: 'f16' | 'q8'): Promise<void> {
  const tensors = planTensors(shape, type)
  const meta = metadata(shape)
  let offset = 0
  const infos = tensors.map(({ name, dims, type }) => {
    const at = offset
    offset += align(bytesOf(dims, type))
    return Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(TENSOR[type]), u64(at)])
  })
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(meta.length),
    ...meta,
    ...infos,
  ])
  await using file = await open(path, 'w')
  await file.write(Buffer.concat([head, Buffer.alloc(align(head.length) - head.length)]))
  for (const { dims, type } of tensors) {
    const data = Buffer.alloc(align(bytesOf(dims, type)))
    fill(data, bytesOf(dims, type), type, dims)
    await file.write(data)
  }
}

function planTensors(
  { layers, vocabSize, hidden, intermediate, heads, kvHeads, headDim }: DecoderShape,
  type: 'f16' | 'q8',
) {
  const norm = (name: string): TensorPlan => ({ name: `${name}.weight`, dims: [hidden], type: 'f32' })
  const matrix = (name: string, from: number, to: number): TensorPlan => ({
    name: `${name}.weight`,
    dims: [from, to],
    type,
  })
  return [
    matrix('token_embd', hidden, vocabSize),
    ...layers.flatMap((_, i) => [
      norm(`blk.${i}.attn_norm`),
      matrix(`blk.${i}.attn_q`, hidden, heads * headDim),
      matrix(`blk.${i}.attn_k`, hidden, kvHeads * headDim),
      matrix(`blk.${i}.attn_v`, hidden, kvHeads * headDim),
      matrix(`blk.${i}.attn_output`, heads * headDim, hidden),
      norm(`blk.${i}.ffn_norm`),
      matrix(`blk.${i}.ffn_gate`, hidden, intermediate),
      matrix(`blk.${i}.ffn_up`, hidden, intermediate),
      matrix(`blk.${i}.ffn_down`, intermediate, hidden),
    ]),
    norm('output_norm'),
  ]
}

function metadata({
  layers,
  vocabSize,
  hidden,
  intermediate,
  heads,
  kvHeads,
  headDim,
}: DecoderShape): Buffer[] {
  const entry = (key: string, type: number, value: Buffer) => Buffer.concat([text(key), u32(type), value])
  const count = (key: string, value: number) => entry(key, META.uint32, u32(value))
  const real = (key: string, value: number) => entry(key, META.float32, f32(value))
  const word = (key: string, value: string) => entry(key, META.string, text(value))
  const list = (key: string, type: number, values: Buffer[]) =>
    entry(key, META.array, Buffer.concat([u32(type), u64(values.length), ...values]))
  const tokens = Array.from({ length: vocabSize }, (_, i) => text(i < 3 ? `<special${i}>` : `t${i}`))
  return [
    word('general.architecture', 'llama'),
    word('general.name', 'random'),
    count('llama.block_count', layers.length),
    count('llama.context_length', 2048),
    count('llama.embedding_length', hidden),
    count('llama.feed_forward_length', intermediate),
    count('llama.attention.head_count', heads),
    count('llama.attention.head_count_kv', kvHeads),
    count('llama.rope.dimension_count', headDim),
    count('llama.vocab_size', vocabSize),
    real('llama.attention.layer_norm_rms_epsilon', 1e-5),
    real('llama.rope.freq_base', 10_000),
    word('tokenizer.ggml.model', 'gpt2'),
    word('tokenizer.ggml.pre', 'default'),
    list('tokenizer.ggml.tokens', META.string, tokens),
    list(
      'tokenizer.ggml.token_type',
      META.int32,
      tokens.map((_, i) => u32(i < 3 ? 3 : 1)),
    ),
    list('tokenizer.ggml.merges', META.string, [text('t 3')]),
    count('tokenizer.ggml.bos_token_id', 1),
    count('tokenizer.ggml.eos_token_id', 2),
  ]
}

/** Random numbers of about the size that weights have; a stretch of them again and again, as their values do not matter. */
function fill(data: Buffer, length: number, type: TensorPlan['type'], dims: readonly number[]): void {
  if (type === 'f32') {
    for (let at = 0; at < length; at += 4) data.writeFloatLE(1, at)
    return
  }
  const deviation = (dims[0] as number) ** -0.5
  const stretch = 4096 * BLOCK
  const random = Float32Array.from(
    { length: stretch },
    () => (Math.random() * 2 - 1) * Math.sqrt(3) * deviation,
  )
  const pattern =
    type === 'f16' ? Buffer.from(new Float16Array(random).buffer) : Buffer.concat(toBlocks(random))
  for (let at = 0; at < length; at += pattern.length)
    pattern.copy(data, at, 0, Math.min(pattern.length, length - at))
}

function toBlocks(values: Float32Array): Buffer[] {
  return Array.from({ length: values.length / BLOCK }, (_, i) => {
    const block = values.subarray(i * BLOCK, (i + 1) * BLOCK)
    const scale = Math.max(...block.map(Math.abs)) / 127
    const numbers = Int8Array.from(block, (value) => Math.round(value / scale))
    return Buffer.concat([Buffer.from(Float16Array.of(scale).buffer), Buffer.from(numbers.buffer)])
  })
}

function bytesOf(dims: readonly number[], type: TensorPlan['type']): number {
  const length = dims.reduce((product, size) => product * size, 1)
  return type === 'q8' ? (length / BLOCK) * (BLOCK + 2) : length * (type === 'f16' ? 2 : 4)
}

function align(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}

function text(value: string): Buffer {
  return Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
}
