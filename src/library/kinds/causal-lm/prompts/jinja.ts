import { Environment, Interpreter, parse, type Statement, tokenize, type Value } from '@huggingface/jinja'
import { strftime } from './strftime.ts'

/*
 * Jinja as the models' own chat templates expect it. The interpreter is a library's; here are the few places where it
 * writes values as JavaScript does, and Jinja as Python does: `True`, `None`, `['a', 1.0]`.
 */

/** A node of a parsed template. */
export interface Node extends Statement {
  [key: string]: unknown
}

/** @throws {Error} when it is not a template */
export function parseJinja(source: string): Node {
  const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })) as Node
  return markPrinted(program) as Node
}

/** Where a value is printed: the interpreter would write it itself. */
const PRINT = 'Print'
const SILENT = new Set([
  ...['Program', 'Set', 'If', 'For', 'Macro', 'CallStatement', 'FilterStatement', 'Break', 'Continue'],
  ...['Comment', 'StringLiteral'],
])
/** Names of the lists of a node whose items are printed one after the other. */
const BLOCKS = ['body', 'alternate', 'defaultBlock']

function markPrinted(node: unknown): unknown {
  if (Array.isArray(node)) return node.map((item: unknown) => markPrinted(item))
  if (!isNode(node)) return node
  for (const [key, child] of Object.entries(node)) {
    const marked = markPrinted(child)
    node[key] = BLOCKS.includes(key) && Array.isArray(marked) ? marked.map(toPrinted) : marked
  }
  return node
}

function toPrinted(item: unknown): unknown {
  return isNode(item) && !SILENT.has(item.type) ? { type: PRINT, value: item } : item
}

/** An interpreter that writes values as Python does. */
export class JinjaInterpreter extends Interpreter {
  override evaluate(statement: Statement | undefined, environment: Environment): Value {
    if (!isNode(statement)) return super.evaluate(statement, environment)
    if (statement.type === PRINT) return this.#print(statement['value'], environment)
    if (isConcatenation(statement)) {
      const sides = [statement['left'], statement['right']]
      return this.#text(
        sides.map((side) => this.#print(side, environment).value as string).join(''),
        environment,
      )
    }
    if (isStringFilter(statement)) return this.#print(statement['operand'], environment)
    return super.evaluate(statement, environment)
  }

  #print(node: unknown, environment: Environment): Value {
    return this.#text(toText(this.evaluate(node as Node, environment)), environment)
  }

  #text(text: string, environment: Environment): Value {
    return super.evaluate({ type: 'StringLiteral', value: text } as Statement, environment)
  }
}

function isConcatenation({ type, operator }: Node): boolean {
  return type === 'BinaryExpression' && (operator as { value?: unknown }).value === '~'
}

function isStringFilter({ type, filter }: Node): boolean {
  return (
    type === 'FilterExpression' &&
    isNode(filter) &&
    filter.type === 'Identifier' &&
    filter['value'] === 'string'
  )
}

/** `str(value)` of Python. */
function toText(value: Value): string {
  switch (value.type) {
    case 'UndefinedValue':
      return ''
    case 'StringValue':
      return value.value as string
    default:
      return represented(value)
  }
}

/** `repr(value)` of Python. */
function represented(value: Value): string {
  switch (value.type) {
    case 'BooleanValue':
      return value.value ? 'True' : 'False'
    case 'NullValue':
      return 'None'
    case 'UndefinedValue':
      return 'Undefined'
    case 'StringValue':
      return quoted(value.value as string)
    case 'ArrayValue':
      return `[${(value.value as Value[]).map(represented).join(', ')}]`
    case 'TupleValue': {
      const items = (value.value as Value[]).map(represented)
      return `(${items.join(', ')}${items.length === 1 ? ',' : ''})`
    }
    case 'ObjectValue': {
      const entries = [...(value.value as Map<string, Value>)]
      return `{${entries.map(([key, item]) => `${quoted(key)}: ${represented(item)}`).join(', ')}}`
    }
    default:
      return value.toString()
  }
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote
}

const CONSTANTS = { true: true, True: true, false: false, False: false, none: null, None: null }

/** What every template may use, and nothing else. */
export function constants(): Environment {
  const environment = new Environment()
  for (const [name, value] of Object.entries(CONSTANTS)) environment.set(name, value)
  return environment
}

/** The same with the functions that chat templates of models use. */
export function chatGlobals(): Environment {
  const environment = constants()
  environment.set('raise_exception', (message: unknown) => {
    throw new Error(String(message))
  })
  environment.set('range', range)
  environment.set('strftime_now', (format: string) => strftime(format, new Date()))
  return environment
}

function range(...bounds: number[]): number[] {
  const [start, stop, step = 1] =
    bounds.length === 1 ? [0, bounds[0]!] : (bounds as [number, number, number?])
  if (step === 0) throw new Error('range() arg 3 must not be zero')
  const count = Math.max(0, Math.ceil((stop - start) / step))
  return Array.from({ length: count }, (_, i) => start + i * step)
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value
}
