/* How a row of a file becomes the input of a task. Pure. */
import { isTemplate, pathsIn, PLACEHOLDER } from '../../protocol/contexts/placeholders.ts'
import { numberText } from '../../protocol/json/exact-numbers.ts'
import { InputError } from '../errors.ts'

export interface RowMapping {
  /** Fields of the input that are taken from a column of another name. */
  map?: Readonly<Record<string, string>> | undefined
  /** A text with `{{ column }}` in it, which becomes the input's prompt. */
  template?: string | undefined
  /**
   * The field that each input must have, which a template or a row that is one text becomes. Default: `prompt` for templates; rows that
   * are one text stay texts.
   */
  field?: string | undefined
}

type Fields = Readonly<Record<string, unknown>>

/** The name of the only column of a file that has a text a line. */
export const TEXT_COLUMN = 'prompt'

/** A row's columns by name. */
export function fieldsOf(row: unknown): Fields | undefined {
  if (typeof row === 'string') return { [TEXT_COLUMN]: row }
  const isFields = typeof row === 'object' && row !== null && !Array.isArray(row)
  return isFields && numberText(row) === undefined ? (row as Fields) : undefined
}

/**
 * Makes rows inputs. An input keeps all columns of its row, so that the factory can give them back with the result.
 *
 * @throws {InputError} for a template that is none
 */
export function createMapper({ map = {}, template, field }: RowMapping): (row: unknown) => unknown {
  if (template !== undefined && !isTemplate(template))
    throw new InputError(
      'every {{ … }} of a template must hold a column, such as {{ claim }} or {{ question.text }}',
    )
  if (template !== undefined && pathsIn(template).length === 0)
    throw new InputError('the template has no {{ column }} in it: each row would give the same prompt')
  const renamed = Object.entries(map)
  return (row) => {
    if (typeof row === 'string' && template === undefined && renamed.length === 0)
      return field === undefined ? row : { [field]: row }
    const fields = fieldsOf(row)
    if (!fields) throw new Error('must be a JSON object or a JSON string')
    const taken = renamed.map(([name, column]) => [name, valueAt(fields, [column], '--map')] as const)
    const input = { ...fields, ...Object.fromEntries(taken) }
    if (template === undefined) {
      if (field !== undefined && !Object.hasOwn(input, field)) throw new Error(missing(field, fields))
      return renamed.length === 0 ? fields : input
    }
    return { ...input, [field ?? TEXT_COLUMN]: render(template, input) }
  }
}

function render(template: string, fields: Fields): string {
  return template.replaceAll(PLACEHOLDER, (_, path: string) => {
    const whole = Object.hasOwn(fields, path) ? [path] : path.split('.')
    return textOf(valueAt(fields, whole, '--template'))
  })
}

const missing = (field: string, fields: Fields) =>
  `has no column ${field}, which the model reads: say which one it is with --map ${field}=COLUMN, or with ` +
  `--template 'a text with {{ COLUMN }} in it'; its columns are ${columnsOf(fields)}`

const columnsOf = (fields: Fields) => Object.keys(fields).join(', ') || 'none'

function valueAt(fields: Fields, path: readonly string[], option: string): unknown {
  let value: unknown = fields
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) {
      throw new Error(
        `has no column ${path.join('.')}, which ${option} needs; its columns are ${columnsOf(fields)}`,
      )
    }
    value = (value as Fields)[name]
  }
  return value
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === null) return ''
  return numberText(value) ?? (typeof value === 'bigint' ? String(value) : JSON.stringify(value))
}
