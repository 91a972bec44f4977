import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { errorsPage } from '../../scripts/docs/errors-page.ts'

const docs = join(import.meta.dirname, '../../docs')

test('the page of error codes says what the code says: `npm run docs` writes it', async () => {
  assert.equal(await readFile(join(docs, 'errors.md'), 'utf8'), errorsPage())
})
