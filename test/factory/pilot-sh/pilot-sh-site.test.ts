import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { PilotEnvironment } from '../../../src/protocol/pilot-environment.ts'
import { listen } from '../../support/listen.ts'
import { startSocks } from '../../support/socks-proxy.ts'
import { bootPilot, settingsFor, workerEnvironment } from '../support/pilot-settings.ts'
import { tinyRuntime } from '../support/tiny-runtime.ts'

let root: string
let runtime: { path: string; sha256: string }

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'gleaner-pilot-'))
  runtime = await tinyRuntime(join(root, 'runtime'), 'env | grep ^GLEANER_\n')
})
after(() => rmSync(root, { recursive: true }))

/** A pilot's folder and a node's cache, both new. */
function fresh(name: string) {
  const folder = mkdtempSync(join(root, `${name}-`))
  return { folder, cache: join(folder, 'cache') }
}

describe('pilot.sh', () => {
  test("runs the site's own lines first", async () => {
    const { folder, cache } = fresh('setup')
    const setup = 'GLEANER_EXTRA="$NEVER_SET from setup"; export GLEANER_EXTRA'
    const { output } = await bootPilot({ folder, settings: settingsFor(cache, runtime), setup }).done
    assert.equal(workerEnvironment(output)['GLEANER_EXTRA'], ' from setup')
  })

  test('finds job, deadline, GPUs, size and node in what Slurm sets', async () => {
    const { folder, cache } = fresh('slurm')
    const env = {
      SLURM_JOB_ID: '1240',
      SLURM_ARRAY_JOB_ID: '1234',
      SLURM_ARRAY_TASK_ID: '5',
      SLURM_RESTART_COUNT: '2',
      SLURM_JOB_END_TIME: '1800000000',
      SLURM_CPUS_ON_NODE: '8',
      SLURM_MEM_PER_NODE: '16384',
      SLURMD_NODENAME: 'gpu07',
      CUDA_VISIBLE_DEVICES: '0,2',
    }
    const { output } = await bootPilot({ folder, settings: settingsFor(cache, runtime), env }).done
    const environment = PilotEnvironment.parse(workerEnvironment(output))
    assert.partialDeepStrictEqual(environment, {
      GLEANER_JOB_ID: '1234_5',
      GLEANER_RESTARTS: 2,
      GLEANER_DEADLINE: 1_800_000_000,
      GLEANER_CPUS: 8,
      GLEANER_MEMORY_MB: 16384,
      GLEANER_NODE: 'gpu07',
      GLEANER_GPUS: '0,2',
    })
  })

  test('finds the same in what HTCondor sets, and takes the deadline from the walltime', async () => {
    const { folder, cache } = fresh('htcondor')
    const jobAd = join(folder, '.job.ad')
    const machineAd = join(folder, '.machine.ad')
    writeFileSync(jobAd, 'ClusterId = 88\nProcId = 3\nNumShadowStarts = 4\nCmd = "pilot.sh"\n')
    writeFileSync(machineAd, 'Cpus = 4\nMemory = 4096\nMachine = "node3.example"\nTotalCpus = 32\n')
    const env = {
      _CONDOR_JOB_AD: jobAd,
      _CONDOR_MACHINE_AD: machineAd,
      _CONDOR_SCRATCH_DIR: folder,
      _CONDOR_AssignedGPUs: 'GPU-1a2b3c4d',
    }
    const settings = { ...settingsFor(cache, runtime), GLEANER_WALLTIME: '3600' }
    const { output } = await bootPilot({ folder, settings, env }).done
    const environment = PilotEnvironment.parse(workerEnvironment(output))
    assert.partialDeepStrictEqual(environment, {
      GLEANER_JOB_ID: '88.3',
      GLEANER_RESTARTS: 3,
      GLEANER_DEADLINE: environment.GLEANER_STARTED + 3600,
      GLEANER_CPUS: 4,
      GLEANER_MEMORY_MB: 4096,
      GLEANER_NODE: 'node3.example',
      GLEANER_GPUS: 'GPU-1a2b3c4d',
    })
    assert.ok(environment.GLEANER_SCRATCH.startsWith(join(folder, 'p7.')))
  })

  test('names its node as a host, whatever the node says', async () => {
    const { folder, cache } = fresh('name')
    const env = { SLURM_JOB_ID: '1', SLURMD_NODENAME: 'n1\n#SBATCH --x \u001b[2J' }
    const { code, output } = await bootPilot({ folder, settings: settingsFor(cache, runtime), env }).done
    assert.equal(code, 0, output)
    assert.equal(workerEnvironment(output)['GLEANER_NODE'], 'n1SBATCH--x2J')
  })

  for (const [asked, shown, used] of [
    ['0', '10000', undefined],
    ['1', 'NoDevFiles', 'none'],
    ['1', '-1', 'none'],
    ['1', 'none', 'none'],
    ['0', '0,1', undefined],
    ['2', '0,1', '0,1'],
  ] as const)
    test(`takes ${used ?? 'no'} GPU where a site asks for ${asked} and the job is shown ${shown}`, async () => {
      const { folder, cache } = fresh('gpus')
      const settings = { ...settingsFor(cache, runtime), GLEANER_ASKED_GPUS: asked }
      const env = { CUDA_VISIBLE_DEVICES: shown, GLEANER_GPUS: 'of an outer job' }
      const { output } = await bootPilot({ folder, settings, env }).done
      assert.equal(workerEnvironment(output)['GLEANER_GPUS'], used)
    })

  test('goes to this machine, and to managers that answer so, without the proxy', async () => {
    const { folder, cache } = fresh('proxy')
    await using manager = await listen(
      createServer((_, response) => response.end(readFileSync(runtime.path))),
    )
    const settings = {
      ...settingsFor(cache, runtime),
      GLEANER_RUNTIME_FILE: '/nowhere',
      GLEANER_MANAGER: manager.url,
    }
    const env = { http_proxy: 'http://127.0.0.1:9', no_proxy: '.example' }
    const { code, output } = await bootPilot({ folder, settings, env, setup: '' }).done
    assert.equal(code, 0, output)
  })

  test('downloads through a SOCKS proxy, which looks up the manager’s name', async () => {
    const { folder, cache } = fresh('socks')
    await using manager = await listen(
      createServer((_, response) => response.end(readFileSync(runtime.path))),
    )
    await using proxy = await startSocks(Number(new URL(manager.url).port))
    const settings = {
      ...settingsFor(cache, runtime),
      GLEANER_RUNTIME_FILE: '/nowhere',
      GLEANER_MANAGER: 'http://manager.invalid:9700',
    }
    const env = { ALL_PROXY: proxy.url.replace('http://', 'socks5h://') }
    const { code, output } = await bootPilot({ folder, settings, env, setup: '' }).done
    assert.equal(code, 0, output)
    assert.deepEqual(proxy.asked, ['manager.invalid:9700'])
  })
})
