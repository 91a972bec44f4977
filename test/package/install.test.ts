import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { generateClaims } from '../../scripts/generate-claims.ts'
import { readIds } from '../end-to-end/factory-fixture.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LIMIT_MS = 600_000
const CLAIMS = 100

describe('the tarball that brings all, unpacked on a machine without Node', () => {
  let folder = ''
  let bin = ''

  const call = async (command: string, ...args: string[]) => {
    const env = { PATH: bin, HOME: folder }
    return promisify(execFile)(command, args, { cwd: folder, env, timeout: LIMIT_MS, maxBuffer: 64 << 20 })
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gleaner-tarball-'))
    bin = join(folder, 'bin')
    await mkdir(bin)
    for (const name of await readdir('/usr/bin'))
      if (!/^(node|nodejs|npm|npx)$/.test(name)) await symlink(join('/usr/bin', name), join(bin, name))
    const archive = join(folder, 'gleaner.tar.gz')
    const script = join(ROOT, 'scripts', 'build-install.ts')
    await promisify(execFile)(process.execPath, [script, '--level', '1', '--out', archive])
    await call('tar', 'xzf', archive)
    await symlink(join('..', 'gleaner-0.1.0', 'bin', 'factory'), join(bin, 'factory'))
  })
  after(async () => {
    await call('factory', 'stop').catch(() => {})
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  })

  test('runs a file of claims on this machine with its own Node, and says nothing that worries', async () => {
    const { stdout, stderr } = await call('factory', '--version')
    assert.deepEqual([stdout, stderr], ['0.1.0\n', ''])
    await call('factory', 'init')
    await writeFile(
      join(folder, '.gleaner', 'factory.yaml'),
      `contexts: [./contexts/fact-verification]\nsites: { here: { kind: local, cacheFolder: ${folder}/cache } }\n`,
    )
    const started = await call('factory', 'start', '--detach')
    assert.match(started.stdout, /factory is running on /)
    assert.doesNotMatch(started.stderr, /warning/i)
    const claims = generateClaims({ split: 'held-out', count: CLAIMS, seed: 1 })
    const input = join(folder, 'claims.jsonl')
    await writeFile(input, [...claims].map((claim) => `${JSON.stringify(claim)}\n`).join(''))
    const out = join(folder, 'out.jsonl')
    await call('factory', 'run', input, '--context', 'fact-verification', '--out', out)
    assert.equal(new Set(await readIds(out)).size, CLAIMS)
    await call('factory', 'stop')
  })

  test('holds what runs on this platform, and nothing for others or for compilers', async () => {
    const files = await readdir(join(folder, 'gleaner-0.1.0'), { recursive: true })
    const strange = files.filter((file) =>
      /node_modules.*(\.d\.ts|\.map|darwin|win32)$|typescript\/package\.json$/.test(file),
    )
    assert.deepEqual(strange, [])
    const licences = files.filter((file) => /node_modules\/(zod|undici)\/LICENSE/.test(file))
    assert.equal(licences.length, 2)
  })
})
