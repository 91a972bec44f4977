import assert from 'node:assert/strict'
import { access, glob, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** The pages of the manual, by their path in the project. */
const pages = new Map<string, string>()
for (const pattern of ['*.md', 'docs/*.md'])
  for await (const page of glob(pattern, { cwd: ROOT }))
    pages.set(page, await readFile(join(ROOT, page), 'utf8'))
const all = [...pages.values()].join('\n')

describe('what the manual says to type', () => {
  test('runs with the Node that comes along, whatever the system has', () => {
    const blocks = [...pages.get('README.md')!.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block!)
    const programs = blocks.flatMap((block) =>
      [...block.matchAll(/(?:^|&& )(\S+)/gm)].map(([, name]) => name!),
    )
    assert.deepEqual(new Set(programs), new Set(['npm', 'npx', 'tar', 'gleaner-0.1.0/bin/factory']))
  })

  test('names scripts of the package', async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: object }
    const named = [...all.matchAll(/npm run ([\w:]+[\w])/g)].map(([, name]) => name!)
    assert.ok(named.length > 10)
    assert.deepEqual(
      named.filter((name) => !(name in scripts) && name !== 'bench'),
      [],
    )
  })

  test('links only to files that are there', async () => {
    let links = 0
    for (const [page, text] of pages) {
      for (const [, path] of text.matchAll(/\]\((?!http)([^)#]+)[^)]*\)/g)) {
        await access(join(ROOT, dirname(page), path!)).catch(() => assert.fail(`${page} links to ${path}`))
        links++
      }
    }
    assert.ok(links > 30)
  })
})
