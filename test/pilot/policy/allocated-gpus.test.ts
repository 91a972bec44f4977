import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { allocatedGpus, namedGpus } from '../../../src/pilot/policy/allocated-gpus.ts'

const gpu = (index: number, uuid: string, product = 'A100') => ({
  id: String(index),
  names: [String(index), uuid],
  product,
  memory: 40e9,
})
const a100s = [gpu(0, 'GPU-11111111-2222'), gpu(1, 'GPU-33333333-4444')]
const drivers = (nvidia: typeof a100s, amd: typeof a100s = []) => [
  { vendor: 'NVIDIA', gpus: nvidia },
  { vendor: 'AMD', gpus: amd },
]
const given = { ids: [] as string[], saysNone: false, asked: 1 }

describe('the GPUs of a pilot', () => {
  test('are those that its job names, by number, UUID, or the beginning of one', () => {
    for (const [id, index] of [
      ['1', 1],
      ['GPU-33333333-4444', 1],
      ['GPU-11111111', 0],
    ] as const) {
      const { gpus, doubts } = allocatedGpus({ ...given, ids: [id] }, drivers(a100s))
      assert.deepEqual(gpus, [{ vendor: 'NVIDIA', id, product: 'A100', memory: a100s[index]!.memory }])
      assert.deepEqual(doubts, [])
    }
  })

  test('are of the vendor whose driver shows them, whatever the variable is called', () => {
    const ids = ['0', '1']
    const { gpus } = allocatedGpus({ ids, vendor: 'NVIDIA', saysNone: false, asked: 2 }, drivers([], a100s))
    assert.deepEqual(
      gpus.map(({ vendor, id }) => [vendor, id]),
      [
        ['AMD', '0'],
        ['AMD', '1'],
      ],
    )
  })

  test('are of the variable’s vendor where both drivers show such GPUs, or neither does', () => {
    for (const shown of [drivers(a100s, a100s), drivers([])]) {
      const { gpus } = allocatedGpus({ ...given, ids: ['1'], vendor: 'AMD' }, shown)
      assert.equal(gpus[0]?.vendor, 'AMD')
    }
  })

  test('are known by what the job was told where no driver shows them, and this is said', () => {
    const { gpus, doubts } = allocatedGpus({ ...given, ids: ['0'] }, drivers([]))
    assert.deepEqual(gpus, [{ vendor: 'NVIDIA', id: '0', product: 'gpu', memory: 0 }])
    assert.match(doubts[0]!, /no driver shows GPU 0/)
  })

  test('are those that the driver shows where it counts them anew', () => {
    const { gpus, doubts } = allocatedGpus({ ...given, ids: ['6'] }, drivers([a100s[0]!]))
    assert.equal(gpus[0]?.id, '0')
    assert.match(doubts[0]!, /calls GPUs 6 0/)
  })

  test('are all that the driver shows where no variable names them, unless these are more than asked for', () => {
    assert.equal(allocatedGpus({ ...given, asked: 2 }, drivers(a100s)).gpus.length, 2)
    assert.equal(allocatedGpus({ ...given, asked: 4 }, drivers(a100s)).gpus.length, 2)
    const { gpus, doubts } = allocatedGpus(given, drivers(a100s))
    assert.deepEqual(gpus, [])
    assert.match(doubts[0]!, /asks for 1 GPUs, the driver shows 2, .*set CUDA_VISIBLE_DEVICES/)
    assert.match(allocatedGpus(given, drivers([])).doubts[0]!, /no driver shows one/)
  })

  test('are none where the batch system says so, or the site asks for none', () => {
    assert.deepEqual(allocatedGpus({ ...given, saysNone: true }, drivers(a100s)).gpus, [])
    assert.deepEqual(allocatedGpus({ ...given, ids: ['0'], asked: 0 }, drivers(a100s)).gpus, [])
  })

  test('are as many as the job names, of one vendor, or as many as the driver shows if it names none', () => {
    const some = fc.uniqueArray(fc.constantFrom('0', '1', '2', 'GPU-11111111', 'MIG-x'), { maxLength: 4 })
    fc.assert(
      fc.property(some, fc.nat(4), fc.nat(2), fc.nat(2), (ids, asked, nvidia, amd) => {
        const shown = drivers(a100s.slice(0, nvidia), a100s.slice(0, amd))
        const { gpus } = allocatedGpus({ ids, saysNone: false, asked }, shown)
        assert.ok(new Set(gpus.map(({ vendor }) => vendor)).size <= 1)
        assert.ok(
          asked === 0
            ? gpus.length === 0
            : ids.length === 0
              ? gpus.length <= asked
              : gpus.length === ids.length,
        )
      }),
    )
  })
})

test('HTCondor’s names of GPUs are numbers in front of the driver', () => {
  assert.deepEqual(namedGpus(' CUDA0, GPU-5e,2,'), ['0', 'GPU-5e', '2'])
})
