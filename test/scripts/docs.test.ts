import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { cliPage } from '../../scripts/docs/cli-page.ts'
import { configurationPage } from '../../scripts/docs/config-tables.ts'
import { errorsPage } from '../../scripts/docs/errors-page.ts'

const docs = join(import.meta.dirname, '../../docs')

test('the page of error codes says what the code says: `npm run docs` writes it', async () => {
  assert.equal(await readFile(join(docs, 'errors.md'), 'utf8'), errorsPage())
})

test('the page of commands says what the commands say: `npm run docs` writes it', async () => {
  assert.equal(await readFile(join(docs, 'cli.md'), 'utf8'), await cliPage())
})

test('the tables of keys in the page on configuration say what the schema says: `npm run docs` writes them', async () => {
  const page = await readFile(join(docs, 'configuration.md'), 'utf8')
  assert.equal(page, configurationPage(page))
  assert.match(page, /\| `walltime` +\|/)
})
