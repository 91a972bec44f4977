import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { z } from 'zod'
import type { JsonValue } from '../../../../protocol/primitives.ts'
import { ContextFilesError, InputError } from '../../../../common/task-errors.ts'
import { readJson, readText } from '../files/read-model-files.ts'
import { chatGlobals, JinjaInterpreter, type Node, parseJinja } from './jinja.ts'

/** One message as a chat template gets it. What it has besides, such as `tool_calls`, is the template's to know. */
export interface Message {
  role: string
  content?: JsonValue | undefined
  [key: string]: unknown
}

/** What a chat template is given with the messages. */
export interface ChatOptions {
  /** Which of the model's templates. Default: `tool_use` with tools, if there is one, or else `default`. */
  template?: string | undefined
  tools?: readonly JsonValue[] | undefined
  documents?: readonly JsonValue[] | undefined
  /** Further variables, such as `enable_thinking`. They win over all others. */
  variables?: Readonly<Record<string, JsonValue>> | undefined
}

/** Applies a model's chat template to messages, ending where its answer begins. */
export type Chat = (messages: readonly Message[], options?: ChatOptions) => string

/** `chat_template` of a tokenizer_config.json, where it may be several by name. */
export const ChatTemplates = z
  .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
  .nullish()

const DEFAULT = 'default'
const TOOLS = 'tool_use'
/** Where newer exports keep templates other than the default. */
const MORE_TEMPLATES = 'additional_chat_templates'

interface Source {
  name: string
  path: string
  source: string
}

/**
 * Reads a model's chat templates: chat_template.jinja, with further ones beside it in additional_chat_templates/, or else
 * chat_template.json, or else what tokenizer_config.json says.
 *
 * @param tokens the model's special tokens, as templates name them
 * @returns undefined if it has none
 * @throws {ContextFilesError} naming the file whose template is none
 */
export async function readChat(
  folder: string,
  configured: z.infer<typeof ChatTemplates>,
  tokens: Readonly<Record<string, string | undefined>>,
): Promise<Chat | undefined> {
  const sources = await findSources(folder, configured)
  if (sources.length === 0) return undefined
  const templates = new Map(sources.map((source) => [source.name, compile(source)]))
  return (messages, options = {}) => {
    const program = chooseTemplate(templates, options)
    const environment = chatGlobals()
    // The reference passes tools and documents as null where there are none, and templates ask for just that.
    const { tools = null, documents = null, variables } = options
    const given = { ...tokens, tools, documents, add_generation_prompt: true, messages, ...variables }
    try {
      for (const [name, value] of Object.entries(given)) environment.set(name, value)
      return new JinjaInterpreter(environment).run(program).value as string
    } catch (error) {
      throw new InputError(`the model's chat template refuses these messages: ${(error as Error).message}`)
    }
  }
}

async function findSources(folder: string, configured: z.infer<typeof ChatTemplates>): Promise<Source[]> {
  const file = await readText(folder, 'chat_template.jinja')
  if (file !== undefined) {
    const path = join(folder, 'chat_template.jinja')
    return [{ name: DEFAULT, path, source: file }, ...(await findMore(folder))]
  }
  const json = await readJson(folder, 'chat_template.json', z.looseObject({ chat_template: ChatTemplates }))
  const from = json?.chat_template ? 'chat_template.json' : 'tokenizer_config.json'
  const found = json?.chat_template ?? configured
  const named = typeof found === 'string' ? [{ name: DEFAULT, template: found }] : (found ?? [])
  return named.map(({ name, template }) => ({ name, path: join(folder, from), source: template }))
}

async function findMore(folder: string): Promise<Source[]> {
  const files = await readdir(join(folder, MORE_TEMPLATES)).catch(() => [])
  const found = files.filter((file) => file.endsWith('.jinja')).sort()
  return Promise.all(
    found.map(async (file) => ({
      name: basename(file, '.jinja'),
      path: join(folder, MORE_TEMPLATES, file),
      source: (await readText(join(folder, MORE_TEMPLATES), file)) ?? '',
    })),
  )
}

function compile({ path, source }: Source): Node {
  try {
    return parseJinja(source)
  } catch (error) {
    throw new ContextFilesError(`${path} cannot be used: ${(error as Error).message}`, { cause: error })
  }
}

function chooseTemplate(templates: ReadonlyMap<string, Node>, { template, tools }: ChatOptions): Node {
  const wanted = template ?? (tools && templates.has(TOOLS) ? TOOLS : DEFAULT)
  const found = templates.get(wanted)
  if (found) return found
  const names = [...templates.keys()].join(', ')
  throw new InputError(
    `the model has no chat template "${wanted}"; it has ${names}: name one as chatTemplate`,
  )
}
