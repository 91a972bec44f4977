import { z } from 'zod'

/*
 * Functions of models that read a text at once instead of going on from it: embeddings, classes, and scores of pairs. They
 * are functions of a `causal-lm` context beside those that generate; `task` tells them apart.
 */

const shared = {
  /** A Jinja template over the input. Default: the input is the text, or has it as `text`. */
  text: z.string().optional(),
  /** Longer texts lose their end instead of being an error. */
  truncate: z.boolean().default(false),
}

/** A text as a vector. */
export const EmbedFunction = z.strictObject({
  task: z.literal('embed'),
  ...shared,
  /** How the vectors of tokens become one. Default: what 1_Pooling/config.json says, or `mean`. */
  pooling: z.enum(['mean', 'cls', 'last', 'max']).optional(),
  /** Whether vectors have length 1. */
  normalize: z.boolean().default(true),
  /** Keep this many numbers of a vector, for models trained for it. Default: all. */
  dimensions: z.int().min(1).max(65_536).optional(),
})
export type EmbedFunction = z.infer<typeof EmbedFunction>

/** The class of a text, or of a pair of texts. */
export const ClassifyFunction = z.strictObject({
  task: z.literal('classify'),
  ...shared,
  /** The second text of a pair, likewise. */
  pair: z.string().optional(),
  /** Whether classes exclude each other (`softmax`) or not (`sigmoid`). Default: what config.json says, or `softmax`. */
  activation: z.enum(['softmax', 'sigmoid']).optional(),
})
export type ClassifyFunction = z.infer<typeof ClassifyFunction>

/** How well two texts go together, as cross-encoders and rerankers see it. */
export const ScoreFunction = z.strictObject({
  task: z.literal('score'),
  ...shared,
  /** The second text, likewise. */
  pair: z.string().optional(),
  /** `sigmoid` brings scores between 0 and 1; `none` gives them as they are. */
  activation: z.enum(['sigmoid', 'none']).default('sigmoid'),
})
export type ScoreFunction = z.infer<typeof ScoreFunction>

export type EncoderFunction = EmbedFunction | ClassifyFunction | ScoreFunction
