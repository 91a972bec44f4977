import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { amdBelow } from '../../../src/common/gpus/amd.ts'
import { intelGpu, intelNumbers, nvidiaGpus } from '../../../src/common/plain/gpu-driver-output.ts'
import { GPU_VENDORS } from '../../../src/common/gpus/vendors.ts'

const TABLE = `0, GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77, 40960, NVIDIA A100-SXM4-40GB
1, GPU-aaaaaaaa-d33d-2b2c-524d-9e3d8d2b8a77, 81559, NVIDIA H100, 80GB
2, GPU-bbbbbbbb-d33d-2b2c-524d-9e3d8d2b8a77, [N/A], NVIDIA GB10
`
const LIST = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb+me   Device  1: (UUID: MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/7/0)
GPU 1: NVIDIA H100, 80GB (UUID: GPU-aaaaaaaa-d33d-2b2c-524d-9e3d8d2b8a77)
`

describe('what NVIDIA’s driver shows', () => {
  test('is read, with the parts of divided GPUs in place of the whole', () => {
    const gpus = nvidiaGpus(TABLE, LIST)
    assert.deepEqual(
      gpus.map(({ names, product, memory }) => [names[0], product, memory]),
      [
        ['MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f', 'NVIDIA A100-SXM4-40GB MIG 3g.20gb', 20e9],
        ['MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/7/0', 'NVIDIA A100-SXM4-40GB MIG 1g.5gb+me', 5e9],
        ['1', 'NVIDIA H100, 80GB', 81559 * 2 ** 20],
        ['2', 'NVIDIA GB10', 0],
      ],
    )
    assert.deepEqual(gpus[0]?.names.slice(1), ['0', 'GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77'])
    assert.deepEqual(gpus[1]?.names.slice(1), [], 'CUDA finds the first part by the number of the whole')
  })

  test('is nothing where it fails, or says something else', () => {
    const failure = 'NVIDIA-SMI has failed because it couldn’t communicate with the NVIDIA driver.'
    for (const text of ['', failure, 'No devices were found', '0, GPU-1', '\u001b[2J'])
      assert.deepEqual(nvidiaGpus(text, text), [])
  })
})

describe('what AMD’s driver shows', () => {
  /** Files as its kernel module has them: a processor, a GPU, one that belongs to another job, and one without a name. */
  async function plant() {
    const sys = await mkdtemp(path.join(tmpdir(), 'gleaner-kfd-'))
    const write = async (file: string, text: string) => {
      await mkdir(path.dirname(path.join(sys, file)), { recursive: true })
      await writeFile(path.join(sys, file), text)
    }
    const nodes = 'class/kfd/kfd/topology/nodes'
    await write(`${nodes}/0/properties`, 'cpu_cores_count 64\nsimd_count 0\n')
    await write(
      `${nodes}/1/properties`,
      'simd_count 416\ngfx_target_version 90010\nunique_id 17942190876541231169\ndrm_render_minor 128\n',
    )
    await write(`${nodes}/1/mem_banks/0/properties`, 'heap_type 1\nsize_in_bytes 68702699520\n')
    await write(`${nodes}/1/mem_banks/1/properties`, 'heap_type 0\nsize_in_bytes 1000\n')
    await write('class/drm/renderD128/device/product_name', 'AMD Instinct MI210\n')
    await mkdir(path.join(sys, nodes, '2'), { recursive: true })
    await write(`${nodes}/10/properties`, 'simd_count 128\ngfx_target_version 110003\ndrm_render_minor 130\n')
    await write('class/kfd/kfd/proc/321/vram_1000', '5000\n')
    await write('class/kfd/kfd/proc/321/vram_1001', '70\n')
    await write('class/kfd/kfd/proc/321/sdma_1000', '9\n')
    return { sys, [Symbol.asyncDispose]: () => rm(sys, { recursive: true }) }
  }

  test('is read from the kernel’s files, in the order of its numbers', async () => {
    await using planted = await plant()
    assert.deepEqual(await amdBelow(planted.sys).shown(), [
      { id: '0', names: ['0', 'GPU-f8ff778a587ea041'], product: 'AMD Instinct MI210', memory: 68702699520 },
      { id: '1', names: ['1'], product: 'AMD gfx1103', memory: 0 },
    ])
  })

  test('tells what processes have on its GPUs', async () => {
    await using planted = await plant()
    assert.deepEqual([...(await amdBelow(planted.sys).memoryByProcess())], [[321, 5070]])
  })

  test('is nothing where there is no such driver', async () => {
    const absent = amdBelow('/nowhere')
    assert.deepEqual(await absent.shown(), [])
    assert.equal((await absent.memoryByProcess()).size, 0)
  })
})

test('what Intel’s tool shows is read, and anything else is nothing', () => {
  assert.deepEqual(
    intelNumbers('{"device_list": [{"device_id": 0, "device_name": "x"}, {"device_id": 3}]}'),
    [0, 3],
  )
  const told = { device_name: 'Intel(R) Data Center GPU Max 1550', memory_physical_size_byte: '68719476736' }
  assert.deepEqual(intelGpu(3, JSON.stringify(told)), {
    ...{ id: '3', names: ['3'], product: told.device_name, memory: 68719476736 },
  })
  for (const text of ['', '{}', '[]', 'Error: xpum not running', '{"device_list": [{"device_id": "x"}]}']) {
    assert.deepEqual(intelNumbers(text), [])
    assert.equal(intelGpu(0, text), undefined)
  }
})

test('a vendor whose driver is not there shows nothing, and takes nothing down', async () => {
  const before = process.env['PATH']
  process.env['PATH'] = '/nowhere'
  try {
    for (const { shown, memoryByProcess } of GPU_VENDORS) {
      assert.ok(Array.isArray(await shown()))
      assert.ok((await memoryByProcess()).size >= 0)
    }
  } finally {
    process.env['PATH'] = before
  }
})
