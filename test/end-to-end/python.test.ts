import assert from 'node:assert/strict'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { ContextFile, LibrarySpec } from '../../src/protocol/contexts/context.ts'
import { plant, type Plant } from './factory-fixture.ts'

/** A claim is supported if most of its words are in the evidence: no model, but it is loaded and asked like one. */
const CLASSIFIER = `
import os, re
from gleaner import bundle_folder, load_variable

def load(file, share):
    with open(os.path.join(bundle_folder("data"), file)) as lines:
        return {"stop": set(lines.read().split()), "share": share}

def words(text):
    return set(re.findall(r"[a-z]+", text.lower())) - load_variable("stop")

def verify(inputs):
    return [{"label": label(words(each["claim"]), words(each["evidence"]))} for each in inputs]

def label(claim, evidence):
    return "SUPPORTS" if len(claim & evidence) >= load_variable("share") * len(claim) else "NOT ENOUGH INFO"

def interpreter(_):
    return os.environ.get("GIVEN_BY_BUNDLE")
`
const CONTEXT = `
name: classifier
library: python
bundles: { app: app, data: data, tools: tools }
setup:
  bundle: app
  file: classifier.py
  call: load
  args: [stop.txt, 0.8]
  python: { bundle: tools, file: bin/python }
functions:
  verify: { call: verify, batch: 8 }
  interpreter: { call: interpreter }
`
const CLAIMS = [
  { id: 'a', evidence: 'The grave of Ann is in Helol.', claim: 'The grave of Ann is in Helol' },
  { id: 'b', evidence: 'The grave of Ann is in Helol.', claim: 'Ann wrote songs' },
]

async function addClassifier({ folder, state }: Plant): Promise<void> {
  const files = {
    'context.yaml': CONTEXT,
    'app/classifier.py': CLASSIFIER,
    'data/stop.txt': 'the of is in a',
    'tools/bin/python': '#!/bin/sh\nexport GIVEN_BY_BUNDLE=1\nexec python3 "$@"\n',
    '../tasks.jsonl': CLAIMS.map((claim) => JSON.stringify(claim)).join('\n'),
  }
  for (const [name, text] of Object.entries(files)) {
    const file = join(folder, 'classifier', name)
    await mkdir(join(file, '..'), { recursive: true })
    await writeFile(file, text)
  }
  await chmod(join(folder, 'classifier', 'tools/bin/python'), 0o755)
  const config = `contexts: [${join(folder, 'classifier')}]\nsites: { here: { kind: local, count: 1 } }\n`
  await writeFile(join(state, 'factory.yaml'), config)
}

describe('a context in Python', () => {
  test('is run by pilots, with the interpreter from its own bundle', async () => {
    await using here = await plant()
    await addClassifier(here)
    await here.start()
    const run = async (name: string) => {
      const args = ['tasks.jsonl', '--context', 'classifier', '--function', name, '--out', name]
      const { stdout, stderr } = await here.factory('run', ...args)
      const lines = (await readFile(join(here.folder, name), 'utf8')).trim().split('\n')
      return { report: stdout + stderr, rows: lines.map((line) => JSON.parse(line) as { id: string }) }
    }
    const { report, rows } = await run('verify')
    assert.match(report, /^2 done, 0 failed/)
    assert.deepEqual(
      rows.toSorted((one, other) => (one.id < other.id ? -1 : 1)),
      [
        { id: 'a', status: 'done', label: 'SUPPORTS' },
        { id: 'b', status: 'done', label: 'NOT ENOUGH INFO' },
      ],
    )
    const other = await run('interpreter')
    assert.deepEqual(other.rows[0], { ...other.rows[0], status: 'done', value: '1' })
  })
})

describe('the Python example', () => {
  test('is described as contexts are', async () => {
    const file = new URL('../../templates/fact-verification-python/context.yaml', import.meta.url)
    const { name, bundles, ...rest } = ContextFile.parse(parse(await readFile(file, 'utf8')))
    assert.equal(name, 'fact-verification-python')
    assert.deepEqual(Object.keys(bundles), ['app', 'model'])
    assert.equal(LibrarySpec.parse(rest).library, 'python')
  })
})
