import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { jsonShapes } from '../../src/cli/json-shapes.ts'
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
