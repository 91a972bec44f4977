import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { jsonShapes } from '../../src/cli/json-output/json-shapes.ts'
import { benchmarksPage, nameOf, placesOf, readFigures } from '../../scripts/docs/benchmarks-page.ts'
import { cliCommands, cliPage } from '../../scripts/docs/cli-page.ts'
import { configurationPage } from '../../scripts/docs/config-tables.ts'
import { jsonPage } from '../../scripts/docs/json-page.ts'
import { errorsPage } from '../../scripts/docs/errors-page.ts'

const docs = join(import.meta.dirname, '../../docs')

test('the page of error codes says what the code says: `npm run docs` writes it', async () => {
  assert.equal(await readFile(join(docs, 'errors.md'), 'utf8'), errorsPage())
})

test('the page of commands says what the commands say: `npm run docs` writes it', async () => {
  assert.equal(await readFile(join(docs, 'cli.md'), 'utf8'), await cliPage())
})

test('the page of JSON says what the schemas say: `npm run docs` writes it', async () => {
  assert.equal(await readFile(join(docs, 'json.md'), 'utf8'), jsonPage())
})

test('each command that can print JSON has a shape for it, and no other', async () => {
  const paths = (await cliCommands()).filter(({ command }) =>
    command.options.some(({ long }) => long === '--json'),
  )
  assert.deepEqual(paths.map(({ path }) => path).sort(), Object.keys(jsonShapes).sort())
})

test('the tables of keys in the page on configuration say what the schema says: `npm run docs` writes them', async () => {
  const page = await readFile(join(docs, 'configuration.md'), 'utf8')
  assert.equal(page, configurationPage(page))
  assert.match(page, /\| `walltime` +\|/)
})

test('the page of benchmarks has the figures that were recorded: `npm run docs` writes them', async () => {
  const page = await readFile(join(docs, 'benchmarks.md'), 'utf8')
  assert.equal(page, benchmarksPage(page, await readFigures()))
})

test('the page of benchmarks has a place for each benchmark, and for all figures that were recorded', async () => {
  const places = placesOf(await readFile(join(docs, 'benchmarks.md'), 'utf8'))
  const { scripts } = JSON.parse(await readFile(join(docs, '../package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const benches = Object.keys(scripts).filter((name) => name.startsWith('bench:'))
  const recorded = (await readFigures()).map(({ command }) => nameOf(command))
  const wanted = [...benches.map((name) => `npm run ${name}`), ...recorded]
  // What needs root is named with sudo.
  const has = (name: string) =>
    places.some((place) => place.replace('sudo ', '') === name.replace('sudo ', ''))
  assert.deepEqual(
    wanted.filter((name) => !has(name)),
    [],
  )
})

test('figures of a benchmark stand in its section, with the command, the machine and one row for each value', () => {
  const page = 'before\n<!-- figures: npm run x -->\nold\n<!-- end of figures -->\nafter\n'
  const figures = { rate: 12345.6789, of: { first: [1, 2] } }
  const record = { command: 'npm run x -- --n 1', date: '2026-01-02', machine: '2 processors', figures }
  const written = benchmarksPage(page, [record, { ...record, command: 'npm run y' }])
  assert.equal(benchmarksPage(written, [record]), written)
  assert.match(written, /`npm run x -- --n 1`, 2 processors, 2026-01-02:/)
  assert.match(written, /\| `rate` +\| 12,345\.679 +\|/)
  assert.match(written, /\| `of\.first` +\| 1, 2 +\|/)
  assert.doesNotMatch(written, /old|npm run y/)
})
