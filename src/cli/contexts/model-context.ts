import { createHash } from 'node:crypto'
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { basename, isAbsolute, join, relative, resolve } from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import { parse, stringify } from 'yaml'
import { addContext } from './add-context.ts'
import type { Client } from '../../client/index.ts'
import { InputError } from '../../client/errors.ts'
import { ContextFilesError } from '../../common/task-errors.ts'
import type { RecognisedModel } from '../../library/model-folder/choose-runner.ts'
import { describeContext, type ModelContext } from '../../library/model-folder/describe-context.ts'
import { recogniseModel } from '../../library/model-folder/recognise-model.ts'
import { Json, Name, type JsonValue } from '../../protocol/primitives.ts'
import { LibrarySpec } from '../../protocol/contexts/context.ts'
import { wholeNumber } from '../options/common-options.ts'

/** What a command was told of a model. */
export interface ModelOptions {
  model: string
  weights?: string
  environment?: string
  system?: string
  maxTokens?: number
  temperature?: number
  set?: Record<string, JsonValue>
}

/** The options that say how a model answers. */
export function addModelOptions(command: Command): Command {
  return command
    .option('--weights <file>', 'which of several graphs or GGUF files in the model folder')
    .option(
      '--environment <path>',
      'a tar file (conda pack, venv-pack) or folder with the program that serves the model in its bin: nodes need none then',
    )
    .option('--system <text>', 'system message of chats')
    .option('--max-tokens <number>', 'most tokens of an answer (default: 512)', wholeNumber(1, 100_000))
    .option(
      '--temperature <number>',
      'randomness of answers, 0 for none (default: as the model says)',
      temperature,
    )
    .option(
      '--set <key=value>',
      'any other setting of the function (topP=0.9), or field of a server’s request (top_p=0.9); repeatable',
      addSetting,
    )
}

function temperature(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 100))
    throw new InvalidArgumentError('It must be a number from 0 to 100.')
  return value
}

function addSetting(text: string, before: Record<string, JsonValue> = {}): Record<string, JsonValue> {
  const [, key, value] = /^(\w+)=(.*)$/s.exec(text) ?? []
  if (key === undefined || value === undefined)
    throw new InvalidArgumentError('It must be a name and a value, such as topP=0.9.')
  return { ...before, [key]: valueOf(value) }
}

/** A number, a list and so on as YAML has it; anything that is none of these is a text. */
function valueOf(text: string): JsonValue {
  try {
    const value = Json.safeParse(parse(text))
    return value.success && value.data !== null ? value.data : text
  } catch {
    return text
  }
}

/** @throws {InputError} that says what is in the folder, if it is no model that can be run */
export async function recognise({ model, weights }: ModelOptions): Promise<RecognisedModel> {
  return await recogniseModel(model, weights).catch((error: unknown) => {
    throw error instanceof ContextFilesError ? new InputError(error.message) : error
  })
}

/**
 * The context for a model, with what the user wants of its answers.
 * @throws {InputError} for settings that it does not have
 */
export function contextFor(
  model: RecognisedModel,
  options: ModelOptions,
  { name, from }: { name: string; from?: string },
): ModelContext {
  if (!Name.safeParse(name).success)
    throw new InputError(`a context cannot be called ${name}: use letters, digits, ".", "_" and "-"`)
  const { system, maxTokens, temperature, set } = options
  if (system !== undefined && !model.hasChat)
    throw new InputError('--system is for models with a chat template, and this one has none')
  if ((maxTokens !== undefined || temperature !== undefined) && model.task !== 'generate')
    throw new InputError('--max-tokens and --temperature are for models that generate, and this one does not')
  if (options.environment !== undefined && model.runner === 'causal-lm')
    throw new InputError(
      '--environment is for models that a server runs: this one runs in the built-in engine',
    )
  const settings = {
    ...(maxTokens !== undefined && {
      [model.runner === 'causal-lm' ? 'maxNewTokens' : 'max_tokens']: maxTokens,
    }),
    ...(temperature !== undefined && { temperature }),
    ...set,
  }
  const bundle = pathFrom(from, model.folder)
  const environment = options.environment && pathFrom(from, options.environment)
  const context = describeContext(model, { name, bundle, environment, system, settings })
  const { name: _, bundles: __, ...spec } = context
  const checked = LibrarySpec.safeParse(spec)
  if (checked.success) return context
  const [issue] = checked.error.issues
  const key = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : issue?.path.slice(2).join('.')
  const what = issue?.code === 'unrecognized_keys' ? 'is no setting of this function' : issue?.message
  throw new InputError(`--set ${key}: ${what} (docs/models.md lists the settings)`)
}

/** A path as a context.yaml in the folder `from` names it: what is below that moves with it. */
function pathFrom(from: string | undefined, file: string): string {
  const absolute = resolve(file)
  if (from === undefined) return absolute
  const below = relative(resolve(from), absolute)
  return below.startsWith('..') || isAbsolute(below) ? absolute : `./${below}`
}

/**
 * A name for the context of a model that was given none: the same as long as the folder, the files in it, its environment and what
 * is wanted of the model are.
 */
export async function nameFor(model: RecognisedModel, options: ModelOptions): Promise<string> {
  const { functions } = contextFor(model, options, { name: 'any' })
  const entries = await readdir(model.folder, { recursive: true, withFileTypes: true })
  const paths = entries.map(({ parentPath, name }) => join(parentPath, name))
  if (options.environment) paths.push(resolve(options.environment))
  const files = await Promise.all(
    paths.map(async (path) => {
      const { size, mtimeMs } = await stat(path).catch(() => ({ size: -1, mtimeMs: -1 }))
      return [path, size, mtimeMs] as const
    }),
  )
  const sorted = files.sort(([a], [b]) => (a < b ? -1 : 1))
  const hash = createHash('sha256')
    .update(JSON.stringify([model.folder, model.file, functions, sorted]))
    .digest('hex')
  const base = basename(model.folder)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
  return `${base.slice(0, 80) || 'model'}-${hash.slice(0, 8)}`
}

/** A context.yaml that says where it comes from. */
export function toYaml(model: RecognisedModel, context: ModelContext): string {
  const comments = model.reasons.map((reason) => `# ${reason}\n`).join('')
  return comments + stringify(context, { lineWidth: 0 })
}

/**
 * Has the factory know a context for a model, and returns its name: one that it knows already is used again.
 *
 * @param state the factory's state folder, where the context.yaml is kept
 * @param onNew told what was recognised, if the model's files have to be packed first
 */
export async function registerModel(
  client: Client,
  model: RecognisedModel,
  options: ModelOptions,
  { state, onNew }: { state: string; onNew: (model: RecognisedModel) => void },
): Promise<string> {
  const name = await nameFor(model, options)
  const known = await client.contexts()
  if (known.some((context) => context.name === name)) return name
  onNew(model)
  const folder = join(state, 'models', name)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, 'context.yaml')
  await writeFile(file, toYaml(model, contextFor(model, options, { name })))
  await addContext(client, file)
  return name
}
