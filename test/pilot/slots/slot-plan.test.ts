import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PilotEnvironment } from '../../../src/protocol/pilot-environment.ts'
import { managerOrigins, readEnvironment } from '../../../src/pilot/boot/environment.ts'
import { planSlots } from '../../../src/pilot/slots/slot-plan.ts'

const required = {
  GLEANER_MANAGER: 'https://submit:9700',
  GLEANER_TOKEN_FILE: 'token',
  GLEANER_CACHE: 'cache',
  GLEANER_SCRATCH: 'scratch',
  GLEANER_STARTED: '1',
}
const pilot = (env: Record<string, string>) => PilotEnvironment.parse({ ...required, ...env })
const MIB = 2 ** 20
const NODE = { memory: 64 * 1024 * MIB, cpus: 16 }

describe('the slots of a pilot', () => {
  test('are one with all CPUs where there is no GPU', () => {
    const env = pilot({ GLEANER_CPUS: '4', GLEANER_MEMORY_MB: '1000' })
    const [only, ...others] = planSlots(env, { gpus: [], shown: 0 }, NODE)
    assert.deepEqual(others, [])
    assert.deepEqual(only?.slot, { device: 'cpu', cpus: 4, memory: 900 * MIB })
    assert.equal(only.env['OMP_NUM_THREADS'], '4')
  })

  test('have their CPUs’ share of the node’s memory if the batch system sets no limit', () => {
    const [only] = planSlots(pilot({ GLEANER_CPUS: '4' }), { gpus: [], shown: 0 }, NODE)
    assert.equal(only?.memoryLimit, Math.floor(16 * 1024 * MIB * 0.9))
  })

  test('are one for each GPU, which sees no other', () => {
    const env = pilot({ GLEANER_CPUS: '8', GLEANER_MEMORY_MB: '2000' })
    const gpus = [
      { vendor: 'NVIDIA', id: '2', product: 'NVIDIA A10', memory: 5000 },
      { vendor: 'NVIDIA', id: 'GPU-5e', product: 'gpu', memory: 0 },
    ]
    const plans = planSlots(env, { gpus, shown: 2 }, NODE)
    assert.deepEqual(
      plans.map(({ slot }) => slot),
      [
        { device: 'NVIDIA A10', cpus: 4, memory: 5000 },
        { device: 'gpu', cpus: 4, memory: 0 },
      ],
    )
    assert.deepEqual(
      plans.map(({ env: { CUDA_VISIBLE_DEVICES } }) => CUDA_VISIBLE_DEVICES),
      ['2', 'GPU-5e'],
    )
    assert.equal(plans[0]?.memoryLimit, 900 * MIB)
    assert.deepEqual(
      plans.map(({ deviceLimit }) => deviceLimit),
      [4500, 0],
      'the second one is not known to its driver',
    )
  })

  const amd = (id: string) => ({ vendor: 'AMD', id, product: 'AMD Instinct MI210', memory: 1000 })

  test('have several GPUs each where the site says so, and those that are too few for one more are left out', () => {
    const env = pilot({ GLEANER_CPUS: '8', GLEANER_GPUS_PER_SLOT: '2' })
    const plans = planSlots(env, { gpus: ['4', '5', '6', '7', '3'].map(amd), shown: 8 }, NODE)
    assert.deepEqual(
      plans.map(({ slot, gpus }) => ({ ...slot, gpus })),
      Array.from({ length: 2 }, () => ({
        device: '2 x AMD Instinct MI210',
        cpus: 4,
        memory: 2000,
        gpus: { count: 2, memory: 1800, hasOthers: true },
      })),
    )
    assert.partialDeepStrictEqual(plans[1]?.env, {
      ROCR_VISIBLE_DEVICES: '6,7',
      HIP_VISIBLE_DEVICES: '0,1',
      CUDA_VISIBLE_DEVICES: '0,1',
    })
  })

  test('share a GPU, and its memory, where the site says so', () => {
    const env = pilot({ GLEANER_CPUS: '8', GLEANER_SLOTS_PER_GPU: '4' })
    const plans = planSlots(env, { gpus: [amd('1')], shown: 1 }, NODE)
    assert.deepEqual(
      plans.map(({ slot, gpus, deviceLimit }) => ({ ...slot, gpus, deviceLimit })),
      Array.from({ length: 4 }, () => ({
        ...{
          device: '1/4 AMD Instinct MI210',
          cpus: 2,
          memory: 250,
          gpus: { count: 1, memory: 225, hasOthers: false },
          deviceLimit: 225,
        },
      })),
    )
    assert.ok(plans.every(({ env }) => env['ROCR_VISIBLE_DEVICES'] === '1'))
  })

  test('are none where the pilot has fewer GPUs than one needs, which is said', () => {
    const env = pilot({ GLEANER_GPUS_PER_SLOT: '2' })
    assert.throws(
      () => planSlots(env, { gpus: [amd('0')], shown: 1 }, NODE),
      /takes 2 GPUs \(gpusPerSlot\), and this pilot has 1/,
    )
  })
})

describe('the environment of a pilot', () => {
  test('must be complete, and the message names what is not', () => {
    assert.throws(() => readEnvironment({ ...required, GLEANER_CACHE: '' }), /GLEANER_CACHE/)
    assert.throws(() => readEnvironment({ ...required, GLEANER_CPUS: 'many' }), /GLEANER_CPUS/)
    assert.equal(readEnvironment(required).GLEANER_CPUS, 1)
  })

  test('can name the manager by several addresses', () => {
    const origins = managerOrigins(pilot({ GLEANER_MANAGER: 'https://a:1 http://b:2,https://c' }))
    assert.deepEqual(origins, ['https://a:1', 'http://b:2', 'https://c'])
    assert.throws(() => managerOrigins(pilot({ GLEANER_MANAGER: 'submit:9700' })), /submit:9700 is not a URL/)
    assert.throws(() => managerOrigins(pilot({ GLEANER_MANAGER: ' ' })), /at least one/)
  })
})
