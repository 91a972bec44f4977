import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect, type ResultRow } from '../../src/client/index.ts'
import { eventually } from '../factory/support/eventually.ts'
import { userSystemd } from './support/systemd.ts'

/* The unit of templates/ as a user installs it, under a real systemd of that user. */

const NOBODY = 65534
const project = fileURLToPath(new URL('../..', import.meta.url))

/** The home of somebody who has configured a local site, and installed the unit as its head says. */
function makeHome() {
  const home = mkdtempSync(join(tmpdir(), 'gleaner-home-'))
  const make = (...names: string[]) => {
    const folder = join(home, ...names)
    mkdirSync(folder, { recursive: true })
    return folder
  }
  const units = make('.config', 'systemd', 'user')
  const context = make('words')
  writeFileSync(join(context, 'words.js'), 'export const work = ({ word }) => word.toUpperCase()\n')
  writeFileSync(join(context, 'package.json'), '{"type":"module"}')
  const functions = 'functions: { work: { export: work } }'
  const setup = 'setup: { bundle: code, file: words.js }'
  writeFileSync(
    join(context, 'context.yaml'),
    ['name: words', 'library: module', 'bundles: { code: . }', setup, functions, ''].join('\n'),
  )
  const state = make('.gleaner')
  writeFileSync(
    join(state, 'factory.yaml'),
    `contexts: [${context}]\nsites: { here: { kind: local, count: 2 } }\n`,
  )
  symlinkSync(join(project, 'bin/factory.js'), join(make('bin'), 'factory'))
  const path = [join(home, 'bin'), dirname(process.execPath), process.env.PATH].join(':')
  const install = 'sed "s|^Environment=PATH=.*|Environment=PATH=$PATH|" "$0" >"$1"'
  const unit = [join(project, 'templates/gleaner.service'), join(units, 'gleaner.service')]
  execFileSync('sh', ['-c', install, ...unit], { env: { PATH: path } })
  execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, home])
  return { home, state, [Symbol.dispose]: () => rmSync(home, { recursive: true, maxRetries: 5 }) }
}

describe('the systemd unit', () => {
  test('starts the factory, starts it again when it dies, with the same pilots, and stops it with its pilots', async () => {
    using user = makeHome()
    await using systemd = await userSystemd(NOBODY, user.home)
    const property = (name: string) =>
      systemd.systemctl('show', 'gleaner', `--property=${name}`, '--value').trim()

    systemd.systemctl('enable', '--now', 'gleaner')
    const answers = async () => {
      await using client = connect({ state: user.state })
      return await client.status().catch(() => null)
    }
    await eventually('the factory answers', answers, 60)
    assert.equal(statSync(join(user.state, 'endpoint.json')).mode & 0o077, 0)
    await using client = connect({ state: user.state })
    const run = async (name: string) => {
      const job = await client.createJob({ name, context: 'words', options: {} })
      await job.add(Array.from({ length: 100 }, (_, i) => ({ key: `t${i}`, input: { word: `word ${i}` } })))
      await job.close()
      const rows: ResultRow[] = []
      for await (const row of job.results()) rows.push(row)
      return rows
    }
    assert.equal((await run('first')).filter(({ status }) => status === 'done').length, 100)

    const workers = async () => (await client.status()).workers.map(({ pilot }) => pilot).sort()
    const bothWork = async () => String(await workers()) === 'p1,p2'
    await eventually('both pilots work', bothWork, 60)
    const main = property('MainPID')
    systemd.systemctl('kill', '--kill-whom=main', '--signal=SIGKILL', 'gleaner')
    await eventually('there is another factory', () => !['0', main].includes(property('MainPID')), 60)
    assert.equal((await run('second')).filter(({ status }) => status === 'done').length, 100)
    await eventually('both pilots, and no other, work for it', bothWork, 60)

    systemd.systemctl('stop', 'gleaner')
    assert.equal(property('ActiveState'), 'inactive')
    assert.equal(property('Result'), 'success')
    const left = execFileSync('ps', ['-o', 'args=', '-u', String(NOBODY)], { encoding: 'utf8' })
    assert.doesNotMatch(left, /worker\.js|factory start/)
  })
})
