/* A context for a model folder. Pure: what was recognised in, what its context.yaml holds out. */
import type { JsonValue } from '../../protocol/primitives.ts'
import type { ModelTask, RecognisedModel } from './choose-runner.ts'

type Settings = Readonly<Record<string, JsonValue>>

export interface ModelContextOptions {
  name: string
  /** Where the model's folder is, as the context.yaml names it. */
  bundle: string
  /** Where the environment is, a tar file or a folder, in which a server's program is; on the nodes' PATH if there is none. */
  environment?: string | undefined
  /** The system message of chats. */
  system?: string | undefined
  /** Settings of the function that answers prompts, under the names of {@link RecognisedModel.runner}. */
  settings?: Settings
}

/** What a context.yaml holds, its first function being the one that a file of prompts is run through. */
export interface ModelContext {
  name: string
  library: 'causal-lm' | 'server'
  bundles: { model: string; env?: string }
  setup: Record<string, unknown>
  functions: Record<string, Record<string, unknown>>
}

/** Most tokens of an answer unless the user says otherwise: what an engine has as its own default may be one line, or no end. */
export const MAX_TOKENS = 512

/** The field of an input that a model of this kind goes on from, or reads; pairs have two of other names. */
export const fieldOf = (task: ModelTask) => (task === 'generate' ? 'prompt' : 'text')

/**
 * Describes a context for a model. Its first function takes rows of a file, which have what the model reads as the field that
 * {@link fieldOf} says, whatever else they have; further ones answer the OpenAI API.
 */
export function describeContext(model: RecognisedModel, options: ModelContextOptions): ModelContext {
  return model.runner === 'causal-lm' ? engineContext(model, options) : serverContext(model, options)
}

function engineContext(
  { task, hasChat, file }: RecognisedModel,
  { name, bundle, system, settings = {} }: ModelContextOptions,
): ModelContext {
  const head = {
    name,
    library: 'causal-lm' as const,
    bundles: { model: bundle },
    setup: { model: 'model', ...(file !== undefined && { graph: file }) },
  }
  if (task !== 'generate') return { ...head, functions: { [task]: { task, ...settings } } }
  const prompt = hasChat ? { messages: messages(system) } : { prompt: PROMPT }
  return { ...head, functions: { answer: { ...prompt, maxNewTokens: MAX_TOKENS, ...settings }, api: {} } }
}

const PROMPT = '{{ prompt }}'

const messages = (system: string | undefined) => [
  ...(system === undefined ? [] : [{ role: 'system', content: system }]),
  { role: 'user', content: PROMPT },
]

function serverContext(
  { runner, task, hasChat, file }: RecognisedModel,
  { name, bundle, environment, system, settings = {} }: ModelContextOptions,
): ModelContext {
  const bin = environment === undefined ? '' : '{{ bundles.env }}/bin/'
  const folder = '{{ bundles.model }}'
  const setup =
    runner === 'vllm'
      ? {
          command: [
            ...[`${bin}vllm`, 'serve', folder, '--served-model-name', name],
            ...(task === 'embed' ? ['--runner', 'pooling'] : []),
            ...['--tensor-parallel-size', '{{ gpus }}', '--uds', '{{ socket }}'],
          ],
          healthy: '/health',
          startLimit: 900,
        }
      : {
          command: [
            ...[`${bin}llama-server`, '--model', `${folder}/${file}`, '--alias', name, '--host', '127.0.0.1'],
            ...['--port', '{{ port }}', '--threads', '{{ threads }}'],
          ],
          healthy: '/health',
          startLimit: 900,
          secret: { variable: 'LLAMA_API_KEY' },
        }
  return {
    name,
    library: 'server',
    bundles: { model: bundle, ...(environment !== undefined && { env: environment }) },
    setup,
    functions: serverFunctions(task === 'embed', hasChat, name, system, settings),
  }
}

const USAGE = { prompt: '{{ usage.prompt_tokens }}', generated: '{{ usage.completion_tokens }}' }

function serverFunctions(
  embeds: boolean,
  hasChat: boolean,
  model: string,
  system: string | undefined,
  settings: Settings,
): ModelContext['functions'] {
  if (embeds) {
    const path = '/v1/embeddings'
    return {
      embed: {
        path,
        body: { model, input: '{{ text }}', ...settings },
        result: { embedding: '{{ data.0.embedding }}', tokens: '{{ usage.prompt_tokens }}' },
      },
      embeddings: { path },
    }
  }
  const [path, text, prompt] = hasChat
    ? ['/v1/chat/completions', '{{ choices.0.message.content }}', { messages: messages(system) }]
    : ['/v1/completions', '{{ choices.0.text }}', { prompt: PROMPT }]
  return {
    answer: {
      path,
      body: { model, ...prompt, max_tokens: MAX_TOKENS, ...settings },
      result: { text, finish: '{{ choices.0.finish_reason }}', tokens: USAGE },
    },
    ...(hasChat && { chat: { path } }),
    completions: { path: '/v1/completions' },
  }
}
