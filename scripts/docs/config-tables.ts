import { ConfigFile, siteSchemas } from '../../src/factory/config/config.ts'
import { type KeyMeaning, managerKeys, siteKeys } from '../../src/factory/config/key-meanings.ts'

const BEGIN = '<!-- keys: npm run docs -->'
const END = '<!-- end of keys -->'

/** docs/configuration.md with its tables of keys made anew of the schema. */
export function configurationPage(page: string): string {
  const [before, rest] = page.split(BEGIN)
  const [, after] = (rest ?? '').split(END)
  if (before === undefined || after === undefined)
    throw new Error(`docs/configuration.md needs ${BEGIN} and ${END}`)
  return `${before}${BEGIN}\n\n${tables()}\n\n${END}${after}`
}

function tables(): string {
  const { manager } = ConfigFile.parse({})
  const { local, slurm, htcondor, pbs } = siteSchemas
  const common = Object.keys(local.shape)
  const kinds = { a: { kind: 'slurm' }, b: { kind: 'htcondor' }, c: { kind: 'pbs' } }
  const defaults = ConfigFile.parse({ sites: kinds }).sites
  const own = (shape: object) => Object.keys(shape).filter((key) => !common.includes(key))
  const both = own(slurm.shape).filter((key) => key in htcondor.shape)
  const only = (shape: object) => own(shape).filter((key) => !both.includes(key))
  return [
    table('key of `manager`', Object.keys(managerKeys), managerKeys, manager),
    table('key of every site', ['kind', ...common.filter((key) => key !== 'kind')], siteKeys, defaults['a']!),
    table('key of `slurm`, `htcondor` and `pbs`', both, siteKeys, defaults['a']!),
    table('key of `slurm`', only(slurm.shape), siteKeys, defaults['a']!),
    table('key of `htcondor`', only(htcondor.shape), siteKeys, defaults['b']!),
    table('key of `pbs`', only(pbs.shape), siteKeys, defaults['c']!),
  ].join('\n\n')
}

function table(
  heading: string,
  keys: string[],
  meanings: Record<string, KeyMeaning>,
  defaults: object,
): string {
  const rows = keys.map((key) => {
    const { meaning, otherwise, unit } = meanings[key]!
    const value = (defaults as Record<string, unknown>)[key]
    return [`\`${key}\``, meaning, key === 'kind' ? '' : (otherwise ?? written(value, unit))]
  })
  return markdownTable([heading, 'meaning', 'default'], rows)
}

function written(value: unknown, unit: KeyMeaning['unit']): string {
  if (value === undefined || (typeof value === 'object' && Object.keys(value!).length === 0)) return ''
  if (unit === 'time')
    return inUnits(Number(value), [
      [86_400, 'd'],
      [3600, 'h'],
      [60, 'm'],
      [1, 's'],
    ])
  if (unit === 'size')
    return inUnits(Number(value), [
      [1024, 'GB'],
      [1, 'MB'],
    ])
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return value === '' ? '' : `\`${text}\``
}

/** In the largest unit that leaves a whole number. */
function inUnits(value: number, units: [number, string][]): string {
  const [size, name] = units.find(([unit]) => value % unit === 0)!
  return `\`${value / size}${name}\``
}

/** A table as prettier writes it. */
export function markdownTable(headings: string[], rows: string[][]): string {
  const escaped = [headings, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')))
  const widths = headings.map((_, column) => Math.max(...escaped.map((row) => [...row[column]!].length)))
  const line = (row: string[]) =>
    `| ${row.map((cell, i) => cell + ' '.repeat(widths[i]! - [...cell].length)).join(' | ')} |`
  const [head, ...body] = escaped
  return [line(head!), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)].join('\n')
}
