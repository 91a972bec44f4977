import type { Environment, Statement, Value } from '@huggingface/jinja'
import type { JsonValue } from '../../../../protocol/primitives.ts'
import { toShown } from '../../../../protocol/json/exact-numbers.ts'
import { ContextFilesError, InputError } from '../../../../common/task-errors.ts'
import { constants, isNode, JinjaInterpreter, type Node, parseJinja } from './jinja.ts'

/** Renders a template over a task's input. */
export type Render = (input: JsonValue) => string

/**
 * Compiles a Jinja template over a task's input. The fields of an input that is an object are the template's variables;
 * any other input is its variable `input`.
 *
 * It is strict: a variable or field that the input does not have is an {@link InputError} that names it, unless the
 * template asks first (`is defined`) or has an answer (`default`).
 *
 * @throws {ContextFilesError} when the template itself is wrong
 */
export function compileTemplate(source: string): Render {
  const program = parseTemplate(source)
  const optional = optionalNodes(program)
  return (input) => {
    const environment = constants()
    try {
      for (const [name, value] of Object.entries(toVariables(toShown(input) as JsonValue)))
        environment.set(name, value)
      return new StrictInterpreter(environment, optional).run(program).value as string
    } catch (error) {
      if (error instanceof InputError) throw error
      throw new InputError(`the input does not fit the template: ${(error as Error).message}`)
    }
  }
}

function toVariables(input: JsonValue): Record<string, JsonValue> {
  return typeof input === 'object' && input !== null && !Array.isArray(input) ? input : { input }
}

function parseTemplate(source: string): Node {
  try {
    return parseJinja(source)
  } catch (error) {
    throw new ContextFilesError(
      `a template of the context is not valid Jinja: ${(error as Error).message}: ${source}`,
    )
  }
}

class StrictInterpreter extends JinjaInterpreter {
  readonly #optional: ReadonlySet<unknown>

  constructor(environment: Environment, optional: ReadonlySet<unknown>) {
    super(environment)
    this.#optional = optional
  }

  override evaluate(statement: Statement | undefined, environment: Environment): Value {
    const value = super.evaluate(statement, environment)
    if (value.type === 'UndefinedValue' && isReference(statement) && !this.#optional.has(statement)) {
      throw new InputError(`the input has no field "${toPath(statement)}", which the template needs`)
    }
    return value
  }
}

/** References that may come to nothing: those that the template tests, or has a default for. */
function optionalNodes(root: unknown, found = new Set<unknown>()): Set<unknown> {
  if (Array.isArray(root)) for (const item of root) optionalNodes(item, found)
  if (!isNode(root)) return found
  const { type, test, filter, operand } = root
  const asks = type === 'TestExpression' && ['defined', 'undefined'].includes(nameOf(test))
  const answers = type === 'FilterExpression' && nameOf(filter) === 'default'
  if (asks || answers) found.add(operand)
  for (const child of Object.values(root)) optionalNodes(child, found)
  return found
}

function nameOf(node: unknown): string {
  if (!isNode(node)) return ''
  return node.type === 'CallExpression' ? nameOf(node['callee']) : String(node['value'])
}

function isReference(node: unknown): node is Node {
  return isNode(node) && (node.type === 'Identifier' || node.type === 'MemberExpression')
}

/** A reference as the template's author wrote it, more or less: `claim.text`, `parts[...]`. */
function toPath(node: unknown): string {
  if (!isNode(node)) return '...'
  if (node.type !== 'MemberExpression') return String(node['value'])
  const property = node['property']
  const name = isNode(property) && !Array.isArray(property['value']) ? String(property['value']) : '...'
  return `${toPath(node['object'])}${node['computed'] ? `[${name}]` : `.${name}`}`
}
