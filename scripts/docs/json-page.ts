import { z } from 'zod'
import { JobErrors, JobInfo } from '../../src/protocol/client.ts'
import { ContextSpec } from '../../src/protocol/contexts/context.ts'
import { FactoryEvent, SlotTime } from '../../src/protocol/events.ts'
import { Reason } from '../../src/protocol/explanation.ts'
import { PilotStatus, SiteStatus, Status } from '../../src/protocol/status.ts'
import { TaskError } from '../../src/protocol/task.ts'
import { jsonShapes } from '../../src/cli/json-output/json-shapes.ts'

const errorKeys = {
  name: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  original: z.string().optional(),
}
/** Shapes that several have in common, by what they are called here. */
const named: Record<string, z.ZodType> = {
  Job: JobInfo,
  Errors: JobErrors,
  TaskError: z.object({ ...errorKeys, cause: TaskError.optional(), errors: z.array(TaskError).optional() }),
  Context: ContextSpec,
  Site: SiteStatus,
  Pilot: PilotStatus,
  Worker: Status.shape.workers.element,
  SlotTime,
  Event: FactoryEvent,
  Reason,
}
const registry = z.registry<{ id: string }>()
for (const [id, schema] of Object.entries(named)) registry.add(schema, { id })
// Errors in errors go down to some depth, and are of one shape.
registry.add(TaskError, { id: 'TaskErrors' })
registry.add(ContextSpec.shape.spec, { id: 'ContextYaml' })

/** Most characters of a line. */
const WIDTH = 100

type Schema = z.core.JSONSchema.BaseSchema

/** docs/json.md: what each command prints with --json, as the schemas have it. */
export function jsonPage(): string {
  const shapes: Record<string, z.ZodType> = jsonShapes
  const byText = Map.groupBy(Object.keys(shapes), (command) => textOf(shapes[command]!))
  const section = (heading: string, text: string) => `## ${heading}\n\n\`\`\`text\n${text}\n\`\`\``
  const sections = [...byText].map(([text, commands]) =>
    section(commands.map((command) => `\`${command}\``).join(', '), text),
  )
  const parts = Object.entries(named).map(([name, schema]) => section(name, textOf(schema, name)))
  return `# JSON of commands

What commands print on standard output with \`--json\`: one document, and of \`factory events\` one a line. Names and meanings stay as they
are from one version to the next; keys may be added, so programs should pass over those they do not know. Notes, progress and errors go to standard
error; [exit codes](cli.md#everywhere) say how it went. Times (\`…At\`, \`at\`, \`from\`, \`to\`, \`now\`, \`deadline\`) are milliseconds since 1970,
\`…Ms\` are durations in milliseconds, sizes are bytes. A key with \`?\` may be absent. This page is written by \`npm run docs\` from the schemas that the
commands' output is tested against. A word in capitals stands for a shape further below; \`ContextYaml\` for what a
[context.yaml](contexts.md) holds.

\`\`\`sh
factory jobs list --json | jq -r '.[] | select(.state == "open") | .name'
\`\`\`

${sections.join('\n\n')}

${parts.join('\n\n')}
`
}

/** @param name what it is called itself, if it is to be written out */
function textOf(shape: z.ZodType, name?: string): string {
  const root = z.toJSONSchema(shape, { unrepresentable: 'any', reused: 'inline', metadata: registry })
  const {
    id: _id,
    $ref: _ref,
    ...own
  }: Schema = { ...root, ...(name !== undefined && root.$defs?.[name]) } as Schema
  return typeText(name === undefined ? root : own, root, '')
}

/** A JSON Schema as a type of TypeScript. `root` holds what is referred to. */
function typeText(schema: Schema, root: Schema, indent: string): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split('/').at(-1)!
    if (name === 'TaskErrors') return 'TaskError'
    if (name in named || name === 'ContextYaml') return name
    const target = root.$defs?.[name]
    // What contains itself is JSON of any kind.
    return target === undefined || isRecursive(target) ? 'unknown' : typeText(target, root, indent)
  }
  if (typeof schema.id === 'string' && schema.id in named) return schema.id
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  const options = schema.oneOf ?? schema.anyOf
  if (options) {
    const texts = [...new Set(options.map((option) => typeText(option, root, `${indent}  `)))]
    return texts.length === 1 ? texts[0]! : texts.map((text) => `\n${indent}  | ${text}`).join('')
  }
  if (schema.type === 'array') return arrayText(schema, root, indent)
  if (schema.type === 'object') return objectText(schema, root, indent)
  if (schema.type === 'integer') return 'number'
  return typeof schema.type === 'string' ? schema.type : 'unknown'
}

function arrayText(schema: Schema, root: Schema, indent: string): string {
  if (Array.isArray(schema.prefixItems))
    return `[${schema.prefixItems.map((item) => typeText(item as Schema, root, indent)).join(', ')}]`
  const item = typeText((schema.items ?? {}) as Schema, root, indent)
  return item.includes(' | ') || item.includes('\n  |') ? `(${item})[]` : `${item}[]`
}

function objectText(schema: Schema, root: Schema, indent: string): string {
  const inner = `${indent}  `
  const required = new Set(schema.required)
  const keys = Object.entries(schema.properties ?? {}).map(([key, value]) => {
    const name = /^[A-Za-z_]\w*$/.test(key) ? key : JSON.stringify(key)
    return `${inner}${name}${required.has(key) ? '' : '?'}: ${typeText(value as Schema, root, inner)}`
  })
  const rest = schema.additionalProperties
  if (typeof rest === 'object') {
    const text = typeText(rest, root, inner)
    if (keys.length === 0) return `Record<string, ${text}>`
    keys.push(`${inner}[key: string]: ${text}`)
  }
  if (keys.length === 0) return '{}'
  const oneLine = `{ ${keys.map((key) => key.trim()).join('; ')} }`
  const fits = oneLine.length + indent.length <= WIDTH && !oneLine.includes('\n')
  return fits ? oneLine : `{\n${keys.join('\n')}\n${indent}}`
}

const isRecursive = (schema: unknown) => JSON.stringify(schema).includes('"$ref"')
