/* Writes the pages of docs/ that are made of code; tests hold that they are up to date. `npm run docs` */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errorsPage } from './docs/errors-page.ts'

const docs = join(import.meta.dirname, '../docs')
await writeFile(join(docs, 'errors.md'), errorsPage())
