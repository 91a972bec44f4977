import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { configJsonSchema } from '../../src/factory/config/key-meanings.ts'
import { factory } from './cli.ts'

async function setup(config: string) {
  const state = await mkdtemp(join(tmpdir(), 'gleaner-config-'))
  await writeFile(join(state, 'factory.yaml'), config)
  const env = { GLEANER_CONFIG_DIRS: join(state, 'none'), XDG_CONFIG_HOME: join(state, 'none') }
  return {
    run: (...args: string[]) => factory(['config', ...args], { state, env }),
    [Symbol.asyncDispose]: () => rm(state, { recursive: true }),
  }
}

describe('factory config', () => {
  test('checks, and shows what is in force with defaults filled in', async () => {
    await using here = await setup('sites: { here: { kind: local, walltime: 2h } }')
    assert.match(
      (await here.run('check')).stdout,
      /^the configuration is good: 1 site from .*factory\.yaml\n$/,
    )
    const shown = parse((await here.run('show')).stdout) as { sites: { here: object }; manager: object }
    assert.deepEqual(shown.sites.here, {
      ...shown.sites.here,
      kind: 'local',
      walltime: 7200,
      cpus: 1,
      max: 1,
    })
    const json = JSON.parse((await here.run('show', '--json')).stdout) as { manager: object }
    assert.deepEqual(json.manager, shown.manager)
  })

  test('names the line that is wrong, and keeps to that when it is to be quiet', async () => {
    await using here = await setup('sites:\n  here:\n    kind: local\n    cpu: 2\n')
    const { code, stderr } = await here.run('check', '--quiet')
    assert.equal(code, 2)
    assert.match(stderr, /^factory: .*factory\.yaml:4: unknown key sites\.here\.cpu; did you mean cpus\?/)
  })

  test('has a schema that says of every key what it means', () => {
    const seen: string[] = []
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return
      const {
        properties = {},
        oneOf = [],
        additionalProperties,
      } = node as {
        properties?: Record<string, { description?: string }>
        oneOf?: unknown[]
        additionalProperties?: unknown
      }
      for (const [key, child] of Object.entries(properties)) {
        if (/^\.(manager|sites)\./.test(`${path}.${key}`)) assert.ok(child.description, `${path}.${key}`)
        seen.push(key)
        if (['manager', 'sites'].includes(key)) walk(child, `${path}.${key}`)
      }
      for (const each of oneOf) walk(each, path)
      if (path === '.sites') walk(additionalProperties, `${path}.`)
    }
    walk(configJsonSchema(), '')
    for (const key of ['listen', 'walltime', 'partition', 'requirements']) assert.ok(seen.includes(key), key)
  })
})
