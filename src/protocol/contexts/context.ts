import { z } from 'zod'
import { BundleId, BundlePath } from '../bundle.ts'
import { AbsolutePath, Json, Name, Sha256 } from '../primitives.ts'
import { ClassifyFunction, EmbedFunction, ScoreFunction } from './encoder-functions.ts'
import { GenerationSettings } from './generation-settings.ts'
import { isTemplate, pathsIn } from './placeholders.ts'

/** Where a context is held on a worker, lowest first. */
export const LEVELS = ['absent', 'disk', 'memory', 'device'] as const
export const Level = z.enum(LEVELS)
export type Level = z.infer<typeof Level>

/**
 * What of a context outlives a task on a worker; all but the last are there to be compared with it.
 *
 * - `none`: nothing. Each task brings the files to a place of its own, loads them, runs, and drops everything.
 * - `disk`: the files. Each task has a library of its own.
 * - `pervasive`: the loaded library too.
 */
export const ContextMode = z.enum(['none', 'disk', 'pervasive'])
export type ContextMode = z.infer<typeof ContextMode>

/** A chat message whose content is a Jinja template over the task's input. */
const MessageTemplate = z.strictObject({
  role: z.enum(['system', 'user', 'assistant']),
  content: z.string(),
})

/** One function of a `causal-lm` context: how an input becomes a prompt, and generated text a result. */
export const GenerateFunction = z
  .strictObject({
    /** Told apart from functions that read whole texts. */
    task: z.literal('generate').optional(),
    ...GenerationSettings.shape,
    /** Chat messages; rendered with the model's chat template. */
    messages: z.array(MessageTemplate).min(1).optional(),
    /** A raw prompt, as a Jinja template over the input. */
    prompt: z.string().optional(),
    /** The answer must be one of these; the result then carries it as `label`, or null. */
    choices: z.array(z.string().min(1)).min(1).optional(),
    /** Tools that the chat template tells the model of, as JSON schemas. */
    tools: z.array(Json).optional(),
    /** Documents that the chat template shows the model. */
    documents: z.array(Json).optional(),
  })
  .refine((f) => !(f.messages && f.prompt !== undefined), 'give either messages or prompt, not both')
export type GenerateFunction = z.infer<typeof GenerateFunction>

/** One function of a `causal-lm` context: `task` says what kind, and is `generate` by default. */
export const ModelFunction = z.discriminatedUnion('task', [
  GenerateFunction,
  EmbedFunction,
  ClassifyFunction,
  ScoreFunction,
])
export type ModelFunction = z.infer<typeof ModelFunction>

/** Setup of the built-in engine for causal language models in the Hugging Face ONNX layout. */
export const CausalLmSetup = z.strictObject({
  /** The bundle (a key of `bundles`) that holds config.json, tokenizer.json and onnx/. */
  model: Name,
  /** The graph inside `onnx/`, or beside config.json. Default: the best one there for the slot; see docs/models.md. */
  graph: z
    .string()
    .regex(/^[\w.-]+\.onnx$/)
    .optional(),
  /** Most sequences generated together. */
  maxBatch: z.int().min(1).max(4096).default(64),
  /** Most prompt tokens; longer prompts are an error of that task. Default: the model's own limit. */
  maxPromptTokens: z.int().min(1).optional(),
  /** Compute threads. Default: the slot's CPUs. */
  threads: z.int().min(1).max(1024).optional(),
})
export type CausalLmSetup = z.infer<typeof CausalLmSetup>

/** Setup of a context that is a JavaScript module of the user's. */
export const ModuleSetup = z.strictObject({
  /** The bundle that holds the module and all it imports. */
  bundle: Name,
  /** The module's path in that bundle. */
  file: BundlePath,
  /** The exported function that makes the context; called once, with `args`. Default: nothing to set up. */
  call: z.string().min(1).optional(),
  args: z.array(Json).default([]),
})
export type ModuleSetup = z.infer<typeof ModuleSetup>

/** One function of a module context: an export, called as `fn(input, context)`; `context` is what setup returned. */
export const ModuleFunction = z.strictObject({
  export: z.string().min(1),
  /** Call it with arrays of up to this many inputs; it returns as many results. Default: one input at a time. */
  batch: z.int().min(1).max(4096).optional(),
})
export type ModuleFunction = z.infer<typeof ModuleFunction>

/** Setup of a context that is a Python file of the user's. */
export const PythonSetup = z.strictObject({
  /** The bundle that holds the file and the modules of the user's that it imports. */
  bundle: Name,
  /** The file's path in that bundle. */
  file: BundlePath.refine((file) => file.endsWith('.py'), 'expected the name of a .py file'),
  /** The function that makes the context's variables; called once, with `args`. Default: nothing to set up. */
  call: z.string().min(1).optional(),
  args: z.array(Json).default([]),
  /** An interpreter in a bundle, or the path of one on the nodes. Default: the node's `python3`. */
  python: z
    .union([z.strictObject({ bundle: Name, file: BundlePath }), z.strictObject({ path: AbsolutePath })])
    .optional(),
  /** Without one: the node's `python3.11`, say, if it has that, rather than its `python3`. */
  version: z
    .string()
    .regex(/^3\.\d{1,2}$/, 'expected a version such as "3.11"')
    .optional(),
})
export type PythonSetup = z.infer<typeof PythonSetup>

/** One function of a Python context, called with the input; what setup returned is there as variables. */
export const PythonFunction = z.strictObject({
  call: z.string().min(1),
  /** Call it with lists of up to this many inputs; it returns as many results. Default: one input at a time. */
  batch: z.int().min(1).max(4096).optional(),
})
export type PythonFunction = z.infer<typeof PythonFunction>

const Template = Json.refine(
  isTemplate,
  'every {{ … }} must hold a path, such as {{ prompt }} or {{ choices.0.text }}',
)
const TextTemplate = z
  .string()
  .min(1)
  .refine(isTemplate, 'every {{ … }} must hold a path, such as {{ prompt }}')

/** Setup of a context that is an HTTP server, which a command starts on each worker. */
export const ServerSetup = z.strictObject({
  /**
   * A program and its arguments. `{{ socket }}` is the path of a Unix socket at which to listen, or `{{ port }}` a port on
   * 127.0.0.1; `{{ bundles.NAME }}` is a bundle's folder, `{{ threads }}` the slot's CPUs,
   * `{{ gpus }}` its GPUs, 1 if it has none.
   */
  command: z
    .array(TextTemplate)
    .min(1)
    .refine(
      (command) =>
        pathsIn(command).every((path) => /^(port|socket|threads|gpus|bundles\.[\w-]+)$/.test(path)),
      'has placeholders other than {{ socket }}, {{ port }}, {{ threads }}, {{ gpus }} and {{ bundles.NAME }}',
    )
    .refine(
      (command) => pathsIn(command).includes('port') !== pathsIn(command).includes('socket'),
      'must tell the server either its {{ socket }} or its {{ port }}',
    ),
  /** It is ready once this path answers GET with 2xx. */
  healthy: z.string().startsWith('/', 'expected a path, such as /health'),
  /** Longest that may take, seconds; a worker gives up after 15 minutes in any case. */
  startLimit: z.number().positive().max(900).default(300),
  /** Most requests at once. Default: as many as make the server faster, which is found by measurement. */
  concurrency: z.int().min(1).max(4096).optional(),
  /**
   * A key made for each server, which only it and its worker know: it is set as this variable of the server's environment, and
   * each request carries it in this header, as `Bearer KEY` in `authorization`.
   */
  secret: z
    .strictObject({
      variable: z.string().regex(/^[A-Za-z_]\w*$/, 'expected the name of an environment variable'),
      header: z
        .string()
        .regex(/^[a-z0-9-]+$/i, 'expected the name of a header, such as x-api-key')
        .toLowerCase()
        .default('authorization'),
    })
    .optional(),
})
export type ServerSetup = z.infer<typeof ServerSetup>

/** One function of a server context: a request with placeholders for what is in the input. */
export const ServerFunction = z.strictObject({
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']).default('POST'),
  path: TextTemplate.refine((path) => path.startsWith('/'), 'expected a path, such as /v1/completions'),
  /** Sent as JSON. A text that is one placeholder becomes the value itself. Default: the input, but nothing with GET. */
  body: Template.optional(),
  /** What of the answer, which is JSON, is the result. Default: all. */
  result: Template.optional(),
})
export type ServerFunction = z.infer<typeof ServerFunction>

/** Functions by name, at least one. */
const namedFunctions = <T extends z.ZodType>(how: T) =>
  z.record(Name, how).refine((functions) => Object.keys(functions).length > 0, 'name at least one function')

/** How a context is made and what can be called in it, by kind of library. The first function is the default. */
export const LibrarySpec = z.discriminatedUnion('library', [
  z.strictObject({
    library: z.literal('causal-lm'),
    setup: CausalLmSetup,
    functions: namedFunctions(ModelFunction),
  }),
  z.strictObject({
    library: z.literal('module'),
    setup: ModuleSetup,
    functions: namedFunctions(ModuleFunction),
  }),
  z.strictObject({
    library: z.literal('python'),
    setup: PythonSetup,
    functions: namedFunctions(PythonFunction),
  }),
  z.strictObject({
    library: z.literal('server'),
    setup: ServerSetup,
    functions: namedFunctions(ServerFunction),
  }),
])
export type LibrarySpec = z.infer<typeof LibrarySpec>

/** The head of a context.yaml; the rest of the file is a {@link LibrarySpec}. */
export const ContextFile = z.looseObject({
  name: Name,
  /** Folders, or tar files that workers unpack, relative to the file. */
  bundles: z.record(Name, z.string().min(1)).default({}),
})

/**
 * A context as the manager keeps it and workers get it. `id` is the SHA-256 of all the rest, as the version had it that registered
 * it first; what has not changed since keeps it, however a later version cuts files into pieces and fills in defaults.
 */
export const ContextSpec = z.object({
  id: Sha256,
  name: Name,
  bundles: z.record(Name, BundleId),
  spec: LibrarySpec,
})
export type ContextSpec = z.infer<typeof ContextSpec>
