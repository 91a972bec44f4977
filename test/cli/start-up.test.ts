import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { commandList } from '../../src/cli/command-list.ts'
import { factory } from './cli.ts'

/** Has a process say on standard error which modules it has read. */
const TELL = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module'
  registerHooks({ load(url, context, next) { console.error('read ' + url); return next(url, context) } })
`)}`

/** The modules that a command reads: ours by their paths below `src`, packages by their names. */
async function modulesOf(...args: string[]): Promise<Set<string>> {
  const { stderr } = await factory(args, {
    state: '/nonexistent',
    env: { NODE_OPTIONS: `--import="${TELL}"` },
  })
  const read = [...stderr.matchAll(/^read file:.*?(?:\/src\/([^\n]+)|\/node_modules\/([^/\n]+)[^\n]*)$/gm)]
  return new Set(read.map(([, own, name]) => own ?? name!))
}

describe('a command of factory', () => {
  test('lists the commands without reading the code of any', async () => {
    const modules = await modulesOf('--help')
    assert.ok(modules.has('cli/program.ts') && modules.has('commander'))
    assert.deepEqual(
      [...modules].filter((module) => module.startsWith('cli/commands/')),
      [],
    )
    for (const name of ['zod', 'undici', 'yaml', 'pino']) assert.ok(!modules.has(name), name)
  })

  test('is read alone, when it is the one that runs', async () => {
    const modules = await modulesOf('status')
    assert.deepEqual(
      [...modules].filter((module) => module.startsWith('cli/commands/')),
      ['cli/commands/status.ts'],
    )
    for (const name of ['yaml', 'pino', 'esbuild', 'hyparquet']) assert.ok(!modules.has(name), name)
  })

  test('has a name of its own', () => {
    const names = commandList.map(({ name }) => name)
    assert.deepEqual(names, [...new Set(names)])
  })
})
