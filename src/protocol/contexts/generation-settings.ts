import { z } from 'zod'
import { Json } from '../primitives.ts'

/** Name of a variable in a template. */
const Variable = z
  .string()
  .regex(/^[A-Za-z_]\w*$/, 'expected the name of a variable, such as enable_thinking')

/** A schema as JSON Schema has it. */
export const JsonSchema = z.union([z.boolean(), z.record(z.string(), Json)], 'expected a JSON schema')
export type JsonSchema = z.infer<typeof JsonSchema>

/**
 * How an answer is generated. Each setting may be given by a request and by the function; the request has the last word.
 * What neither says, the model's generation_config.json says, and then the default.
 */
export const GenerationSettings = z.strictObject({
  /** Most tokens to generate. Default: 128. */
  maxNewTokens: z.int().min(1).max(100_000).optional(),
  /** The answer may not end before this many tokens. Default: 0. */
  minNewTokens: z.int().min(0).max(100_000).optional(),
  /** 0 is greedy, and the default. */
  temperature: z.number().min(0).max(100).optional(),
  /** Draw from this many likeliest tokens at most. */
  topK: z.int().min(1).optional(),
  /** Draw from the fewest likeliest tokens that together have this probability. */
  topP: z.number().gt(0).max(1).optional(),
  /** Draw from tokens that are at least this times as likely as the likeliest. */
  minP: z.number().min(0).max(1).optional(),
  /** Scores of tokens that occur in prompt or answer are divided by it (multiplied where negative). 1 changes nothing. */
  repetitionPenalty: z.number().gt(0).max(100).optional(),
  /** Taken off the score of each token that the answer has already. */
  presencePenalty: z.number().min(-100).max(100).optional(),
  /** The same, times how often the answer has it. */
  frequencyPenalty: z.number().min(-100).max(100).optional(),
  /** Added to the scores of tokens, by token id. -100 all but forbids one. */
  logitBias: z
    .record(z.string().regex(/^\d{1,7}$/, 'expected the id of a token'), z.number().min(-1000).max(1000))
    .optional(),
  /** Answers to generate from one prompt. */
  n: z.int().min(1).max(128).optional(),
  /** With each token, its logarithmic probability, and that of so many of the likeliest tokens. */
  logprobs: z.int().min(0).max(20).optional(),
  /** Makes sampling repeatable: an answer depends on seed and prompt alone. */
  seed: z.int().optional(),
  /** Texts that end generation; not part of the result. */
  stop: z.array(z.string().min(1).max(1000)).max(64).optional(),
  /** The answer must be JSON of this schema; `true` stands for any JSON. */
  schema: JsonSchema.optional(),
  /** Gives the text as it grows to a client that waits for it, as one of the OpenAI API does. Default: false. */
  stream: z.boolean().optional(),
  /** What a prompt that is too long loses: its start, its middle or its end. Default: it is an error of its task. */
  truncate: z.enum(['start', 'middle', 'end']).optional(),
  /** Which of the model's chat templates, if it has several by name. */
  chatTemplate: z.string().min(1).max(200).optional(),
  /** Further variables of the chat template, such as `enable_thinking`. */
  templateVariables: z.record(Variable, Json).optional(),
})
export type GenerationSettings = z.infer<typeof GenerationSettings>

/** The field of a task's input that holds the settings of that request. */
export const REQUEST_SETTINGS = 'generation'
