import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { makeProject, runApp } from './app/project.ts'
import { plant } from './factory-fixture.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** TypeScript in the manual, by the file name in each sample's first line. */
async function samples(): Promise<Record<string, string>> {
  const page = await readFile(join(ROOT, 'docs/typescript.md'), 'utf8')
  const found = [...page.matchAll(/^```ts\n\/\/ (\S+\.ts)\n([^]*?)^```$/gm)]
  return Object.fromEntries(found.map(([, name, text]) => [name!, text!]))
}

/** What a sample says that it prints: the comments behind its calls of console.log. */
const promised = (text: string) =>
  [...text.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, line]) => `${line}\n`).join('')

function mistakes(files: string[]): string[] {
  const options: ts.CompilerOptions = {
    strict: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
    erasableSyntaxOnly: true,
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.NodeNext,
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules', '@types')],
    paths: { gleaner: [join(ROOT, 'src', 'client', 'index.ts')] },
  }
  const program = ts.createProgram(files, options)
  return ts
    .getPreEmitDiagnostics(program)
    .map(
      ({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    )
}

describe('the TypeScript in the manual', () => {
  test('compiles, runs, and prints what it says', async () => {
    await using here = await plant('sites: { here: { kind: local, count: 1 } }')
    await here.start()
    const folder = join(here.folder, 'samples')
    const files = Object.entries(await samples()).map(([name, text]) => [
      name,
      text.replaceAll('/shared', folder),
    ])
    await makeProject(folder, Object.fromEntries(files) as Record<string, string>)
    await writeFile(join(folder, 'model.json'), '{"good":3,"bad":-1}')
    assert.deepEqual(mistakes(files.map(([name]) => join(folder, name!))), [])

    const programs = files.filter(([, text]) => text!.includes('connect()'))
    assert.ok(programs.length >= 3)
    for (const [name, text] of programs) {
      const { code, stdout, stderr } = await runApp(folder, here.state, [name!])
      assert.deepEqual([code, stdout], [0, promised(text!)], `${name}: ${stderr}`)
    }
  })
})
