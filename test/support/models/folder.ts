import { copyFile, mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type DecoderShape, smallDecoder, writeDecoder } from './decoder.ts'

/** A tokenizer of bytes: three special tokens, then one for each byte. */
const TOKENIZER = fileURLToPath(new URL('../../fixtures/models/grouped-query', import.meta.url))

export interface FolderOptions {
  /** What config.json says besides, or instead. */
  config?: object
  /** File name inside `onnx/`. */
  graph?: string
}

/**
 * Writes a model folder in the Hugging Face layout with a small decoder of random weights.
 *
 * @param folder is made if it does not exist
 */
export async function writeModelFolder(
  folder: string,
  changes: Partial<DecoderShape> = {},
  { config = {}, graph = 'model.onnx' }: FolderOptions = {},
): Promise<void> {
  const shape = { ...smallDecoder, ...changes }
  await mkdir(join(folder, 'onnx'), { recursive: true })
  await writeFile(join(folder, 'onnx', graph), writeDecoder(changes))
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...toConfig(shape), ...config }))
  await copyTokenizer(folder)
}

/** Gives a folder the tokenizer of bytes that small models share. */
export async function copyTokenizer(folder: string): Promise<void> {
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    await copyFile(join(TOKENIZER, name), join(folder, name))
  }
}

function toConfig(shape: DecoderShape): object {
  return {
    model_type: 'llama',
    hidden_size: shape.hidden,
    intermediate_size: shape.intermediate,
    num_hidden_layers: shape.layers.length,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    vocab_size: shape.vocabSize,
    max_position_embeddings: 512,
    eos_token_id: 2,
  }
}

/**
 * Collects weights in a file beside the graph, as large exports have them.
 *
 * @returns what {@link DecoderShape.external} wants, and a function that writes the file
 */
export function externalData(location: string) {
  const parts: Uint8Array[] = []
  let offset = 0
  return {
    external: (_name: string, bytes: Uint8Array) => {
      parts.push(bytes)
      const at = { location, offset, length: bytes.length }
      offset += bytes.length
      return at
    },
    async write(folder: string): Promise<void> {
      await using file = await open(join(folder, location), 'w')
      for (const part of parts) await file.write(part)
    },
  }
}
