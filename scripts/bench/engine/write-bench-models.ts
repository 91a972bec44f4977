import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type DecoderShape, smallDecoder } from '../../../test/support/models/decoder.ts'
import { externalData, writeModelFolder } from '../../../test/support/models/folder.ts'
import { writeGguf } from './gguf.ts'

/** SmolLM2-135M, but for its weights. */
export const SHAPE: DecoderShape = {
  ...smallDecoder,
  layers: Array<'full'>(30).fill('full'),
  vocabSize: 49_152,
  hidden: 576,
  intermediate: 1536,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  valueDim: 64,
}

/** Writes models of that shape: fp32 and int4 for ONNX Runtime, f16 and q8 for llama.cpp. */
export async function writeBenchModels(folder: string): Promise<void> {
  for (const matrices of ['float', 'int4'] as const) {
    const path = join(folder, matrices === 'float' ? '135m' : '135m-int4')
    const weights = externalData('model.onnx_data')
    await mkdir(join(path, 'onnx'), { recursive: true })
    await writeModelFolder(path, { ...SHAPE, matrices, external: weights.external })
    await weights.write(join(path, 'onnx'))
  }
  for (const type of ['f16', 'q8'] as const) await writeGguf(join(folder, `${type}.gguf`), SHAPE, type)
}
