import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

/* The modulefile of templates/ as a centre installs it, loaded by the real Environment Modules. */

const MODULES = '/usr/share/modules/init/sh'
if (!existsSync(MODULES))
  throw new Error(`this test needs ${MODULES}: install the package environment-modules`)
const project = fileURLToPath(new URL('../..', import.meta.url))

test('module load gives the command, its own Node, and the settings of the centre', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gleaner-module-'))
  try {
    // What npm install --prefix leaves: commands in node_modules/.bin.
    const prefix = join(folder, 'gleaner')
    const commands = join(prefix, 'node_modules/.bin')
    for (const name of [commands, join(prefix, 'etc'), join(folder, 'modules/gleaner')]) {
      mkdirSync(name, { recursive: true })
    }
    symlinkSync(join(project, 'bin/factory.js'), join(commands, 'factory'))
    symlinkSync(process.execPath, join(commands, 'node'))
    writeFileSync(
      join(prefix, 'etc/factory.yaml'),
      'sites: { idle: { kind: slurm, partition: preemptible } }\n',
    )
    const template = readFileSync(join(project, 'templates/modulefile'), 'utf8')
    const modulefile = template.replace('set prefix /opt/gleaner/0.1.0', `set prefix ${prefix}`)
    assert.notEqual(modulefile, template)
    writeFileSync(join(folder, 'modules/gleaner/0.1.0'), modulefile)

    const script = `
      . ${MODULES}
      module use ${join(folder, 'modules')}
      module load gleaner
      command -v factory
      command -v node
      factory submit --dry-run idle
      module unload gleaner
      command -v factory || echo gone`
    const env = {
      HOME: folder,
      GLEANER_STATE: join(folder, 'state'),
      PATH: '/usr/local/bin:/usr/bin:/bin',
    }
    const said = execFileSync('sh', ['-c', script], { env, encoding: 'utf8' })
    const lines = said.trim().split('\n')
    assert.deepEqual(lines.slice(0, 2), [join(commands, 'factory'), join(commands, 'node')])
    assert.match(said, /^#SBATCH --partition=preemptible$/m)
    assert.equal(lines.at(-1), 'gone')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
