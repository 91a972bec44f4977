import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'
import { configChanges } from '../../../src/factory/policy/config-changes.ts'

const config = (file: object) => resolveConfig(ConfigFile.parse(file))
const gpu = { kind: 'slurm', count: 2 }

describe('a changed configuration', () => {
  test('applies to sites at once, and says each changed setting with both values', () => {
    const before = config({ sites: { gpu, old: { kind: 'local' } } })
    const after = config({ sites: { gpu: { ...gpu, count: 5, partition: 'idle' }, here: { kind: 'local' } } })
    assert.deepEqual(configChanges(before, after), {
      added: ['here'],
      removed: ['old'],
      changed: ['gpu'],
      applies: [
        'site here: new',
        'site old: not configured any more, its pilots are told to go',
        'site gpu: count 2 -> 5, max 2 -> 5, partition not set -> "idle"',
      ],
      restart: [],
    })
  })

  test('takes a restart where it is about the manager or contexts', () => {
    const before = config({ sites: { gpu } })
    const notify = [{ on: ['job-ended'], command: ['tell'] }]
    const after = config({ manager: { idle: '5m' }, contexts: ['./a'], notify, sites: { gpu } })
    assert.deepEqual(configChanges(before, after).restart, [
      'manager: idle 120 -> 300',
      'contexts: restart, or register one with "factory context add PATH"',
      'notify',
    ])
  })

  test('shows no values that may be secret', () => {
    const before = config({ sites: { gpu } })
    const after = config({
      sites: { gpu: { ...gpu, setup: 'export A_TOKEN=x', commandEnvironment: { A: 'secret' } } },
    })
    assert.deepEqual(
      configChanges(before, after).applies,
      ['site gpu: commandEnvironment changed, setup changed'].map((line) => line),
    )
  })

  test('is none where the same is written in another way', () => {
    const changes = configChanges(
      config({ sites: { gpu: { ...gpu, walltime: '60m' } } }),
      config({ sites: { gpu: { walltime: '1h', ...gpu } } }),
    )
    assert.deepEqual([changes.applies, changes.restart], [[], []])
  })
})
