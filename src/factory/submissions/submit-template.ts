import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Liquid } from 'liquidjs'

/** A submit template is wrong, or a value does not fit it. The message names the template and what to change. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError'
}

/** Folder of the templates that come with the package; the same from the sources and from `dist/`. */
const shipped = fileURLToPath(new URL('../../../templates/', import.meta.url))

/** Quotes a value as one word of a POSIX shell; words that need no quotes are left as they are. */
export function shellQuote(value: unknown): string {
  const text = singleLine(value)
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** Quotes a folder for a POSIX shell; `$NAME`, `${NAME}` and a leading `~/` are still expanded, on the node. */
export function shellPath(value: unknown): string {
  const text = singleLine(value).replace(/^~(?=\/|$)/, '$HOME')
  return `"${text.replace(/[\\"`]|\$(?![A-Za-z_]|\{[A-Za-z_]\w*\})/g, '\\$&')}"`
}

/** Quotes a value as a ClassAd string. */
export function classAdQuote(value: unknown): string {
  return `"${singleLine(value).replace(/["\\]/g, '\\$&')}"`
}

/** A line break in a value would start a new line of the job file, and with it a new directive. */
function singleLine(value: unknown): string {
  const text = String(value)
  if (/[\r\n\0]/.test(text))
    throw new TemplateError(`a value with a line break cannot go here: ${JSON.stringify(text)}`)
  return text
}

const engine = new Liquid({ strictVariables: true, strictFilters: true, ownPropertyOnly: true, cache: false })
engine.registerFilter('shell', shellQuote)
engine.registerFilter('classad', classAdQuote)

/**
 * Renders a submit template: the site's own file, or the shipped one of that name.
 * @throws {TemplateError} naming the template and the unknown variable or filter.
 */
export function renderTemplate(path: string, variables: Record<string, unknown>): string {
  try {
    return engine.parseAndRenderSync(readFileSync(path, 'utf8'), variables) as string
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : message.split('\n')[0]
    throw new TemplateError(`template ${path}: ${reason}`, { cause: error })
  }
}

export const shippedTemplate = (name: string): string => shipped + name
