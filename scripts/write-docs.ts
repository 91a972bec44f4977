/* Writes the pages of docs/ that are made of code; tests hold that they are up to date. `npm run docs` */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { benchmarksPage, readFigures } from './docs/benchmarks-page.ts'
import { cliPage } from './docs/cli-page.ts'
import { configurationPage } from './docs/config-tables.ts'
import { jsonPage } from './docs/json-page.ts'
import { errorsPage } from './docs/errors-page.ts'

const docs = join(import.meta.dirname, '../docs')
await writeFile(join(docs, 'errors.md'), errorsPage())
await writeFile(join(docs, 'cli.md'), await cliPage())
await writeFile(join(docs, 'json.md'), jsonPage())
const configuration = join(docs, 'configuration.md')
await writeFile(configuration, configurationPage(await readFile(configuration, 'utf8')))
const benchmarks = join(docs, 'benchmarks.md')
await writeFile(benchmarks, benchmarksPage(await readFile(benchmarks, 'utf8'), await readFigures()))
