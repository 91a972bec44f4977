import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { readContextYaml } from '../../../../src/manager/services/contexts/context-yaml.ts'

const folder = await mkdtemp(join(tmpdir(), 'gleaner-context-yaml-'))
after(() => rm(folder, { recursive: true }))
const file = join(folder, 'context.yaml')

const GOOD = `name: chat
library: module
bundles: { app: ./app }
setup:
  bundle: app
  file: index.js
functions:
  embed:
    export: embed
    batch: 64
`

async function complaint(text: string): Promise<string> {
  await writeFile(file, text)
  const error = await readContextYaml(file).then(
    () => assert.fail('it was taken'),
    (error: Error) => error,
  )
  assert.ok(error.message.startsWith(file), error.message)
  return error.message.slice(file.length)
}

describe('a context.yaml', () => {
  test('is read', async () => {
    await writeFile(file, GOOD)
    const { head, spec } = await readContextYaml(file)
    assert.deepEqual([head.name, head.bundles, spec.library], ['chat', { app: './app' }, 'module'])
  })

  const mistakes: [string, string, string, string][] = [
    ['at its top', 'functions:', 'funktions:', ':7: unknown key funktions; did you mean functions?'],
    [
      'in its setup',
      '  file: index.js',
      '  file: index.js\n  cal: load',
      ':7: unknown key setup.cal; did you mean call?',
    ],
    [
      'of a function',
      'batch: 64',
      'batches: 64',
      ':10: unknown key functions.embed.batches; did you mean batch?',
    ],
    [
      'that is like no other',
      'batch: 64',
      'colour: red',
      ':10: unknown key functions.embed.colour; valid here: export, batch',
    ],
  ]
  for (const [where, good, bad, said] of mistakes) {
    test(`with an unknown key ${where} is refused with the line, and what was meant or is valid`, async () => {
      assert.equal(await complaint(GOOD.replace(good, bad)), said)
    })
  }

  test('with a wrong value is refused with its line and key', async () => {
    assert.match(await complaint(GOOD.replace('batch: 64', 'batch: many')), /^:10: functions\.embed\.batch: /)
  })

  test('that is no YAML is refused with the line', async () => {
    assert.match(await complaint('name: chat\nlibrary: [module\n'), /^:\d: /)
  })
})
