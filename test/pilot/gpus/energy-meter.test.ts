import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { amdWatts, nvidiaWatts } from '../../../src/common/plain/gpu-driver-output.ts'
import { meterEnergy } from '../../../src/pilot/gpus/energy-meter.ts'
import { until } from '../../support/until.ts'

/** Puts a driver's command, which notes how it was called, first on the PATH. */
async function driver(command: string, answer: string) {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-driver-'))
  const script = `#!/bin/sh\necho "$*" >>'${folder}/asked'\ncat <<'END'\n${answer}\nEND\n`
  await writeFile(path.join(folder, command), script, { mode: 0o755 })
  const before = process.env['PATH']
  process.env['PATH'] = `${folder}:${before}`
  return {
    asked: async () =>
      (await readFile(path.join(folder, 'asked'), 'utf8').catch(() => '')).split('\n').slice(0, -1),
    async [Symbol.asyncDispose]() {
      process.env['PATH'] = before
      await rm(folder, { recursive: true })
    },
  }
}

const gpus = (vendor: string, ...ids: string[]) =>
  ids.map((id) => ({ vendor, id, product: 'any', memory: 0 }))

describe('the energy of a pilot', () => {
  test('is the power of its own GPUs times the time between readings', async () => {
    await using nvidia = await driver('nvidia-smi', '250.00\n50.50')
    using meter = meterEnergy(gpus('NVIDIA', '0', 'GPU-abc'), 20)
    const begunAt = performance.now()
    await until(async () => (await nvidia.asked()).length >= 4)
    const seconds = (performance.now() - begunAt) / 1000
    const { joules = 0 } = meter
    assert.ok(joules > 0 && joules <= 300.5 * seconds, `${joules} J in ${seconds} s`)
    const [first] = await nvidia.asked()
    assert.equal(first, '--query-gpu=power.draw --format=csv,noheader,nounits --id=0,GPU-abc')
  })

  test('is what amd-smi says of GPUs of AMD', async () => {
    await using amd = await driver(
      'amd-smi',
      '[{"gpu": 0, "power": {"socket_power": {"value": 100, "unit": "W"}}}]',
    )
    using meter = meterEnergy(gpus('AMD', '0'), 20)
    await until(() => (meter.joules ?? 0) > 0)
    assert.equal((await amd.asked())[0], 'metric --power --json --gpu 0')
  })

  test('is not known where the driver does not tell, which is then asked no more', async () => {
    await using nvidia = await driver('nvidia-smi', '[N/A]')
    using meter = meterEnergy(gpus('NVIDIA', '0'), 1)
    await until(async () => (await nvidia.asked()).length === 1)
    using later = meterEnergy(gpus('NVIDIA', '0'), 1)
    await until(async () => (await nvidia.asked()).length === 2)
    assert.deepEqual([meter.joules, later.joules, (await nvidia.asked()).length], [undefined, undefined, 2])
  })

  test('is not asked for without GPUs', async () => {
    await using nvidia = await driver('nvidia-smi', '100')
    using meter = meterEnergy([], 1)
    assert.deepEqual([meter.joules, await nvidia.asked()], [undefined, []])
  })
})

test('what drivers print of power is read, and what they cannot mean is left out', () => {
  assert.equal(nvidiaWatts('61.23\n[N/A]\n100\n'), 161.23)
  for (const text of ['', '[Not Supported]', 'Unable to determine the device handle', '999999', '-5'])
    assert.equal(nvidiaWatts(text), undefined)
  const gpus = [{ power: { socket_power: { value: 43, unit: 'W' } } }, { power: { socket_power: 7.5 } }, {}]
  assert.equal(amdWatts(JSON.stringify(gpus)), 50.5)
  assert.equal(amdWatts(JSON.stringify({ gpu_data: gpus })), 50.5)
  for (const text of ['', 'no', '{}', '[]', '[1, null]', '{"gpu_data": "x"}'])
    assert.equal(amdWatts(text), undefined)
})
