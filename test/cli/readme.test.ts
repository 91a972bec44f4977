import assert from 'node:assert/strict'
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const readme = await readFile(join(ROOT, 'README.md'), 'utf8')

describe('what the README says to type', () => {
  test('runs with the Node that comes along, whatever the system has', () => {
    const blocks = [...readme.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block!)
    const programs = blocks.flatMap((block) =>
      [...block.matchAll(/(?:^|&& )(\S+)/gm)].map(([, name]) => name!),
    )
    assert.deepEqual(new Set(programs), new Set(['npm', 'npx']))
  })

  test('names scripts of the package', async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: object }
    const named = [...readme.matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name!)
    assert.ok(named.length > 10)
    assert.deepEqual(
      named.filter((name) => !(name in scripts)),
      [],
    )
  })

  test('and to read is there', async () => {
    const paths = [...readme.matchAll(/\]\((?!http)([^)#]+)\)/g)].map(([, path]) => path!)
    assert.ok(paths.length > 5)
    for (const path of paths) await access(join(ROOT, path))
  })
})
