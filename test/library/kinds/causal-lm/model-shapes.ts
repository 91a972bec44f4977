import type { DecoderShape } from '../../../support/models/decoder.ts'

/*
 * Small decoders in the shapes of public families of models: what goes in and out, what is remembered, how tokens see each
 * other. Only their sizes are made up.
 */

export interface FamilyShape extends Partial<DecoderShape> {
  /** What config.json says besides. */
  config?: object
}

export const shapes: Readonly<Record<string, FamilyShape>> = {
  // SmolLM2, TinyLlama, Qwen2.5, OLMo2, Granite 3: positions are told, everything before is seen.
  'full attention': {},
  'full attention with the last logits alone': { keepLogits: 'num_logits_to_keep' },
  // Older exports of optimum: decoder_model_merged.onnx.
  'a branch to start and one to go on': { branches: true },
  'positions counted by the mask': { positions: 'mask' },
  'positions counted by columns': { positions: 'columns' },
  'half precision': { type: 'float16' },
  // Gemma 2 and 3, Mistral 0.1, OLMo 3, gpt-oss.
  'sliding windows': {
    layers: [{ window: 8 }, { window: 8 }, 'full'],
    config: { sliding_window: 8, layer_types: ['sliding_attention', 'sliding_attention', 'full_attention'] },
  },
  'sliding windows that config.json does not mention': { layers: [{ window: 8 }, 'full'] },
  // Phi-3 and Phi-4-mini.
  'long rope': {
    longAfter: 24,
    config: {
      max_position_embeddings: 512,
      original_max_position_embeddings: 24,
      rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [2] },
    },
  },
  // Quantized exports, `model_quantized.onnx` and `model_int8.onnx`.
  'dynamic int8': { matrices: 'dynamic-int8' },
  'blocks of four bits': { matrices: 'int4', hidden: 32 },
  // Exports of onnxruntime-genai, and newer ones for the browser.
  'group-query attention': { attention: 'group-query' },
  'group-query attention with windows': { attention: 'group-query', layers: [{ window: 8 }, 'full'] },
  // LFM2.
  'short convolutions': { layers: ['conv', 'full', 'conv'] },
  // Granite 4, Qwen3.5.
  'recurrence beside attention': { layers: ['recurrent', 'full'] },
  // Mamba: no mask, no positions.
  'recurrence alone': { layers: ['recurrent', 'recurrent'] },
  // Gemma 3n and 4.
  'layers that share a cache': { layers: ['full', 'shared', 'full', 'shared'] },
  // DeepSeek and MiniCPM 3.
  'keys and values of different sizes': { valueDim: 4 },
  'names of dimensions that differ by layer': { ownSymbols: true },
}
