import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { defaultConfigYaml } from '../../../src/factory/config/default-config.ts'
import { ConfigError } from '../../../src/factory/config/config-error.ts'
import { configFiles, loadConfig } from '../../../src/factory/config/load-config.ts'
import type { SlurmSiteConfig } from '../../../src/factory/config/config.ts'

let root: string
before(() => void (root = mkdtempSync(join(tmpdir(), 'gleaner-config-'))))
after(() => rmSync(root, { recursive: true }))

let count = 0
function file(text: string, name = `${count++}/factory.yaml`) {
  const path = join(root, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}
const load = (...texts: string[]) => loadConfig(texts.map((text) => file(text)))
const complaint = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ConfigError)
  assert.match(error.message, pattern)
  assert.doesNotMatch(error.message, /\n/)
  return true
}

describe('factory.yaml', () => {
  test('as "factory init" writes it is valid, and runs pilots on this machine', () => {
    const config = load(defaultConfigYaml())
    assert.deepEqual(
      config.sites.map(({ name, kind, max }) => ({ name, kind, max })),
      [{ name: 'here', kind: 'local', max: 2 }],
    )
  })

  test('as "factory init" shows it in comments is valid too', () => {
    const text = defaultConfigYaml()
    const examples = text.indexOf('  # cluster:')
    const config = load(text.slice(0, examples) + text.slice(examples).replaceAll(/^ {2}# /gm, '  '))
    assert.deepEqual(
      config.sites.map(({ name, max }) => [name, max]),
      [
        ['here', 2],
        ['cluster', 50],
        ['pool', 100],
      ],
    )
    assert.match(config.sites[1]!.setup, /module load cuda/)
  })

  test('takes a key by its former name, with a warning that names the new one', () => {
    const { manager, warnings } = load('sites: {}\nmanager:\n  lease: 90s', 'manager: { idle: 5m }')
    assert.equal(manager.workerTimeout, 90)
    assert.equal(manager.idle, 300)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0]!, /factory\.yaml:3: manager\.lease is now called manager\.workerTimeout$/)
    assert.deepEqual(load('manager: { workerTimeout: 90s }').warnings, [])
  })

  test('takes times and sizes with their units', () => {
    const [site] = load(
      'sites: { a: { kind: local, walltime: 1.5h, memory: 16GB, grace: 30, disk: 512MB } }',
    ).sites
    assert.partialDeepStrictEqual(site, { walltime: 5400, memory: 16384, grace: 30, disk: 512 })
  })

  test('asks only sites that are enabled to agree on the relay of their submit node', () => {
    const site = (more: string) => `{ kind: slurm, transport: { ssh: l }, relay: true${more} }`
    const { sites } = load(`sites: { a: ${site('')}, b: ${site(', bandwidth: 1MB, enabled: false')} }`)
    assert.deepEqual(
      sites.map(({ name }) => name),
      ['a'],
    )
  })

  test('is merged from its layers key by key, the later ones over the earlier', () => {
    const config = load(
      'sites: { gpu: { kind: slurm, policy: demand, max: 5, partition: long, account: shared } }',
      'sites: { gpu: { account: mine, max: 9 }, here: { kind: local } }',
      'sites: { here: { enabled: false } }',
    )
    assert.equal(config.sites.length, 1)
    const site = config.sites[0] as SlurmSiteConfig
    assert.deepEqual([site.name, site.partition, site.account, site.max], ['gpu', 'long', 'mine', 9])
  })

  test('is looked for where the centre keeps it, with the user and in the state folder', () => {
    const env = { GLEANER_CONFIG_DIRS: '/opt/a:/opt/b', HOME: '/home/u' }
    assert.deepEqual(configFiles('/state', env), [
      '/opt/a/factory.yaml',
      '/opt/b/factory.yaml',
      '/home/u/.config/gleaner/factory.yaml',
      '/state/factory.yaml',
    ])
    assert.equal(configFiles('/state', { HOME: '/home/u' })[0], '/etc/gleaner/factory.yaml')
    assert.deepEqual(loadConfig([join(root, 'missing', 'factory.yaml')]).sites, [])
  })

  test('gives paths relative to itself', () => {
    const path = file(
      'contexts: [ctx]\nsites: { a: { kind: local, template: t/my.sh } }',
      'deep/factory.yaml',
    )
    const config = loadConfig([path])
    assert.deepEqual(config.contexts, [join(root, 'deep/ctx')])
    assert.equal(config.sites[0]?.template, join(root, 'deep/t/my.sh'))
  })

  test('names file, line and the nearest valid key when one is misspelt', () => {
    const bad = (text: string, pattern: RegExp) => assert.throws(() => load(text), complaint(pattern))
    bad(
      'sites:\n  gpu:\n    kind: slurm\n    partion: low\n',
      /factory\.yaml:4: unknown key sites\.gpu\.partion; did you mean partition\?$/,
    )
    bad('sties: {}\n', /factory\.yaml:1: unknown key sties; did you mean sites\?$/)
    bad('manager:\n  listn: a:1\n', /factory\.yaml:2: unknown key manager\.listn; did you mean listen\?$/)
    bad(
      'sites: { a: { kind: local, partition: x } }\n',
      /unknown key sites\.a\.partition; valid here: .*\bcount\b/,
    )
  })

  test('names the layer that is wrong, not one that only has the same section', () => {
    const good = file('sites: { gpu: { kind: slurm, max: 3 } }')
    const bad = file('\nsites: { gpu: { quos: x } }')
    const other = file('manager: { idle: 3m }\nsites: { gpu: { max: 4 } }')
    assert.throws(
      () => loadConfig([good, bad, other]),
      complaint(new RegExp(`^${bad}:2: unknown key sites.gpu.quos`)),
    )
  })

  for (const [what, text, pattern] of [
    ['a value of the wrong kind', 'sites: { a: { kind: local, count: many } }', /:1: sites\.a\.count: /],
    [
      'a time without a unit it knows',
      'sites: { a: { kind: local, walltime: 3 weeks } }',
      /sites\.a\.walltime: expected a time like/,
    ],
    [
      'a kind of site there is not',
      'sites: { a: { kind: lsf } }',
      /sites\.a\.kind: expected local, htcondor, slurm or pbs$/,
    ],
    ['a name that cannot be one', 'sites: { "a b": { kind: local } }', /sites\.a b: use letters, digits/],
    [
      'a policy that needs a maximum and has none',
      'sites: { a: { kind: local, policy: demand } }',
      /sites\.a\.max: this policy needs a max/,
    ],
    [
      'GPUs that cannot be divided into slots',
      'sites: { a: { kind: slurm, gpus: 3, gpusPerSlot: 2 } }',
      /sites\.a\.gpusPerSlot: gpus must be a multiple of it/,
    ],
    [
      'slots that share GPUs where there are none',
      'sites: { a: { kind: slurm, slotsPerGpu: 2 } }',
      /sites\.a\.slotsPerGpu: slots share GPUs only where the site asks for some/,
    ],
    [
      'a line break where it would add lines to a job',
      'sites: { a: { kind: slurm, partition: "x\\n#SBATCH -A y" } }',
      /sites\.a\.partition: /,
    ],
    [
      'a port there cannot be',
      'manager: { listen: "127.0.0.1:70000" }',
      /manager\.listen: no port is above 65535/,
    ],
    ['a wait that no timer holds', 'sites: { a: { kind: local, poll: 30d } }', /sites\.a\.poll: at most 24d/],
    [
      'a worker timeout that no worker can keep',
      'manager: { workerTimeout: 0s }',
      /:1: manager\.workerTimeout: at least 1s/,
    ],
    [
      'a key by both of its names',
      'manager: { lease: 9s, workerTimeout: 9s }',
      /:1: lease is the old name of workerTimeout/,
    ],
    [
      'a wrong value of a key by its old name',
      'sites: {}\nmanager:\n  lease: 0s',
      /:3: manager\.workerTimeout: at least 1s/,
    ],
    [
      'a relay to be started where there is no SSH',
      'sites: { a: { kind: slurm, relay: true } }',
      /sites\.a\.relay: a relay is started on a submit node that is reached over SSH: set transport/,
    ],
    [
      'two ways to run the relay of one submit node',
      'sites: { a: { kind: slurm, transport: { ssh: l }, relay: true }, b: { kind: pbs, transport: { ssh: [l] }, relay: {}, bandwidth: 1MB } }',
      /sites\.b\.relay: it shares a submit node and so a relay with a: give both the same relay and bandwidth/,
    ],
    [
      'a bandwidth that nothing would keep to',
      'sites: { a: { kind: local, bandwidth: 20MB } }',
      /sites\.a\.bandwidth: it limits what goes over SSH/,
    ],
    [
      'a rate that is none',
      'sites: { a: { kind: slurm, transport: { ssh: l }, bandwidth: fast } }',
      /sites\.a\.bandwidth: expected bytes a second like/,
    ],
    ['something that is not YAML', 'sites: [', /factory\.yaml:\d+: /],
    ['something that is no configuration', 'hello', /expected keys and values/],
  ] as const)
    test(`refuses ${what}, in one line`, () => assert.throws(() => load(text), complaint(pattern)))
})
