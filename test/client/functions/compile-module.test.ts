import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { compile } from '../../../src/client/functions/compile-module.ts'
import { packNatives } from '../../../src/client/functions/native-packages.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gleaner-compile-'))
  const own = `${process.platform}/${process.arch}`
  const other = process.platform === 'linux' ? 'win32/x64' : 'linux/x64'
  await write({
    'app/helper.ts': `export const twice = (n: number): number => 2 * n`,
    'app/model.ts': `
      import { loadVariable } from 'gleaner'
      import pure from 'pure'
      import binding from 'compiled'
      export * from './helper.ts'
      export const infer = () => [loadVariable('model'), pure, binding]
      export default infer`,
    'app/wrong.ts': `export const a = 1\nimport { b } from './missing.ts'\nconsole.log(b)`,
    'app/node_modules/pure/package.json': '{"name":"pure","version":"1.0.0","main":"index.js"}',
    'app/node_modules/pure/index.js': `module.exports = 'the pure one'`,
    'app/node_modules/compiled/package.json':
      '{"name":"compiled","version":"2.0.0","dependencies":{"needed":"1"},"optionalDependencies":{"extra":"1"}}',
    'app/node_modules/compiled/index.js': `module.exports = require('needed')`,
    [`app/node_modules/compiled/bin/${own}/addon.node`]: 'binary',
    [`app/node_modules/compiled/bin/${other}/addon.node`]: 'binary',
    'app/node_modules/compiled/node_modules/needed/package.json': '{"name":"needed","version":"1.1.0"}',
    'app/node_modules/compiled/node_modules/needed/index.js': '',
  })
})
after(() => rm(folder, { recursive: true, force: true }))

async function write(files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
}

describe('a module that is made ready to travel', () => {
  test('is one file with what it imports, but for packages that have compiled parts', async () => {
    const { name, exports, files, natives } = await compile(join(folder, 'app', 'model.ts'))
    assert.equal(name, 'model')
    assert.deepEqual(exports, ['default', 'infer', 'twice'])
    assert.deepEqual([...files.keys()].sort(), ['index.js', 'module.js', 'package.json', 'remote.js'])
    const code = files.get('module.js')!
    assert.match(code, /the pure one/)
    assert.match(code, /from "compiled"/)
    assert.doesNotMatch(code, /from "gleaner"/)
    assert.deepEqual(
      natives.map((found) => found.name),
      ['compiled'],
    )
  })

  test('is the same each time, so that its context is', async () => {
    const [one, two] = [
      await compile(join(folder, 'app', 'model.ts')),
      await compile(join(folder, 'app', 'model.ts')),
    ]
    assert.deepEqual(one, two)
  })

  test('takes along compiled packages with what they need, for this platform only', async () => {
    const { natives } = await compile(join(folder, 'app', 'model.ts'))
    const { files, versions } = await packNatives(natives)
    assert.deepEqual(versions, ['compiled@2.0.0', 'needed@1.1.0'])
    assert.deepEqual(files.map(({ path }) => path).sort(), [
      `compiled/bin/${process.platform}/${process.arch}/addon.node`,
      'compiled/index.js',
      'compiled/package.json',
      'needed/index.js',
      'needed/package.json',
    ])
  })

  test('is refused with the place of the mistake', async () => {
    await assert.rejects(
      compile(join(folder, 'app', 'wrong.ts')),
      /wrong\.ts:2: Could not resolve "\.\/missing\.ts"/,
    )
    await assert.rejects(compile(join(folder, 'app', 'absent.ts')), /absent\.ts cannot be bundled/)
  })
})
