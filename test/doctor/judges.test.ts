import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConfigFile, resolveConfig } from '../../src/factory/config/config.ts'
import type { HtcondorSiteConfig, SlurmSiteConfig } from '../../src/factory/config/config.ts'
import { type Finding, settle } from '../../src/doctor/policy/finding.ts'
import { type AddressFacts, judgeAddress, judgeServer } from '../../src/doctor/policy/judge-address.ts'
import { judgeHtcondor } from '../../src/doctor/policy/judge-htcondor.ts'
import { judgeMachine, type MachineFacts } from '../../src/doctor/policy/judge-machine.ts'
import { judgeSlurm, type SlurmAnswers, slurmSeconds } from '../../src/doctor/policy/judge-slurm.ts'

const site = (kind: string, more: object) =>
  resolveConfig(ConfigFile.parse({ sites: { gpu: { kind, ...more } } })).sites[0]!

/** What is not well, as `check: text => fix`. */
const complaints = (findings: Finding[]) =>
  findings
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ check, text, fix }) => `${check}: ${text} => ${fix}`)

describe('a Slurm', () => {
  const answers: SlurmAnswers = {
    version: 'slurm 24.11.5\n',
    ping: 'Slurmctld(primary) at head is UP\n',
    config: 'MaxArraySize            = 1001\n',
    partitions:
      'PartitionName=low Default=NO GraceTime=5 MaxTime=04:00:00 PreemptMode=CANCEL State=UP\n' +
      'PartitionName=high Default=YES GraceTime=0 MaxTime=UNLIMITED DefaultTime=NONE PreemptMode=OFF State=UP\n',
    associations: 'phys|||||\n'.replace('phys|||||', 'phys||normal,long|200||'),
    qos: 'normal|100|1-00:00:00\nlong|50|7-00:00:00\n',
  }
  const judge = (more: object, said: Partial<SlurmAnswers> = {}) =>
    complaints(judgeSlurm(site('slurm', more) as SlurmSiteConfig, { ...answers, ...said }))

  test('is well if no limit is below what the site asks for', () => {
    assert.deepEqual(judge({ partition: 'low', walltime: '4h', grace: '5s', max: 100, count: 4 }), [])
  })

  test('is complained of where its commands are not there, or its controller does not answer', () => {
    const nothing = {
      version: undefined,
      ping: undefined,
      config: undefined,
      partitions: undefined,
      associations: undefined,
      qos: undefined,
    }
    assert.match(
      judge({}, nothing).join('\n'),
      /^batch-commands: sbatch cannot be run on this machine\. => .*commandEnvironment$/,
    )
    assert.match(
      judge({ walltime: '1h' }, { ping: undefined })[0]!,
      /^batch-answers: The controller of Slurm does not answer\./,
    )
  })

  test('is complained of for each limit that would bite, with the line to change', () => {
    assert.deepEqual(judge({ partition: 'low', walltime: '6h', grace: '30s' }), [
      'slurm-partition: Partition low ends jobs after 4 h, and the site asks for 6 h. => sites.gpu.walltime: 240m',
      'slurm-partition: Partition low takes nodes back 5 s after its warning, and the site counts on 30 s. => sites.gpu.grace: 5s',
    ])
    assert.deepEqual(judge({ partition: 'lo', walltime: '1h' }), [
      'slurm-partition: There is no partition lo. => sites.gpu.partition: one of those that "sinfo" lists',
    ])
    assert.deepEqual(judge({ walltime: '1h', max: 500, submitSize: 400 }, { config: 'MaxArraySize = 101' }), [
      'slurm-arrays: Job arrays may have at most 101 elements, and a submission up to 400. => sites.gpu.submitSize: 101',
      "slurm-limits: By the QoS normal, this user may have at most 100 jobs in the queue; the site's max is 500. => sites.gpu.max: 100",
    ])
    assert.match(
      judge({ walltime: '1h', account: 'chem' })[0]!,
      /no account chem in Slurm\. => sites\.gpu\.account: phys$/,
    )
    assert.match(
      judge({ walltime: '1h', qos: 'vip' })[0]!,
      /may not use the QoS vip\. => sites\.gpu\.qos: normal or long$/,
    )
    assert.match(
      judge({ walltime: '2d', qos: 'normal' })[0]!,
      /The QoS normal allows 1 d, and the site asks for 2 d\./,
    )
  })

  test('is asked for a time limit where it has none', () => {
    assert.match(judge({})[0]!, /no time limit, and the site asks for none\. => sites\.gpu\.walltime: 4h$/)
  })

  test('writes times in ways that are all understood', () => {
    assert.deepEqual(['30:00', '04:00:00', '1-00:00:00', 'UNLIMITED', undefined].map(slurmSeconds), [
      1800,
      14_400,
      86_400,
      Infinity,
      Infinity,
    ])
  })
})

describe('an HTCondor', () => {
  const answers = {
    version: '$CondorVersion: 23.9.6 2024-08-08 BuildID: 1 $\n',
    limits: 'MAX_JOBS_PER_OWNER = 100000\nMAX_JOBS_PER_SUBMISSION = 20000\n',
    slots: '8 16000 undefined\n64 256000 4\n',
  }
  const judge = (more: object, said: Partial<typeof answers> = {}) =>
    complaints(judgeHtcondor(site('htcondor', more) as HtcondorSiteConfig, { ...answers, ...said }))

  test('is well if a machine of the pool is large enough', () => {
    assert.deepEqual(judge({ gpus: 2, cpus: 8, memory: '16GB' }), [])
  })

  test('is complained of for what would bite, with the line to change', () => {
    assert.match(
      judge({ gpus: 8 })[0]!,
      /None of the 2 machines .* large enough for a pilot \(1 CPUs, 2048 MB and 8 GPUs\)\. => smaller/,
    )
    assert.match(judge({}, { slots: '' })[0]!, /The pool shows no slots/)
    assert.match(
      judge({ max: 50 }, { limits: 'MAX_JOBS_PER_OWNER = 20' })[0]!,
      /MAX_JOBS_PER_OWNER is 20; the site's max is 50\. => sites\.gpu\.max: 20$/,
    )
    const none = judgeHtcondor(site('htcondor', {}) as HtcondorSiteConfig, {
      version: undefined,
      limits: undefined,
      slots: undefined,
    })
    assert.match(complaints(none)[0]!, /condor_version cannot be run/)
  })
})

describe('a machine', () => {
  const well: MachineFacts = {
    nodeVersion: '24.21.0',
    openFiles: 65_536,
    clockKept: true,
    folder: '/state',
    unsafe: undefined,
    filesystem: 'ext4',
    freeBytes: 1e11,
    freeFiles: 1e6,
    locks: 'held',
    syncMs: 2,
    filesystemClockMs: -3,
  }
  const checks = (facts: Partial<MachineFacts>) =>
    judgeMachine({ ...well, ...facts })
      .filter(({ verdict }) => verdict !== 'ok')
      .map(({ check, verdict }) => `${check} ${verdict}`)

  test('is well, or complained of for each thing that is not', () => {
    assert.deepEqual(checks({}), [])
    assert.deepEqual(checks({ nodeVersion: '22.1.0' }), ['node error'])
    assert.deepEqual(checks({ openFiles: 1024 }), ['open-files warning'])
    assert.deepEqual(checks({ unsafe: '/state belongs to another user' }), ['state-folder error'])
    assert.deepEqual(checks({ filesystem: 'tmpfs' }), ['state-folder warning'])
    assert.deepEqual(checks({ freeBytes: 2e9 }), ['state-folder warning'])
    assert.deepEqual(checks({ freeBytes: 1e8 }), ['state-folder error'])
    assert.deepEqual(checks({ freeFiles: 10 }), ['state-folder warning'])
    assert.deepEqual(checks({ locks: 'not-held' }), ['state-folder error'])
    assert.deepEqual(checks({ locks: 'disk I/O error' }), ['state-folder error'])
    assert.deepEqual(checks({ syncMs: 300 }), ['state-folder warning'])
    assert.deepEqual(checks({ filesystemClockMs: 60_000 }), ['clock warning'])
    assert.deepEqual(checks({ clockKept: false }), ['clock warning'])
  })
})

describe('the address of the manager', () => {
  const well: AddressFacts = {
    host: '0.0.0.0',
    port: 9700,
    url: 'https://submit.example:9700',
    tls: true,
    resolved: ['10.0.0.5'],
    loopback: (address) => address.startsWith('127.'),
    running: 'no',
    listening: 'yes',
    remoteSites: ['gpu'],
    reachedFrom: [],
    relayedSites: [],
    certificate: { names: ['submit.example'], matches: true },
  }
  const judge = (facts: Partial<AddressFacts>) => {
    const all = { ...well, ...facts }
    return complaints([...judgeServer(all), ...judgeAddress(all)])
  }

  test('is well, or complained of where pilots would not find it', () => {
    assert.deepEqual(judge({}), [])
    assert.match(
      judge({ resolved: ['127.0.1.1'] })[0]!,
      /^address: submit\.example in .* leads to 127\.0\.1\.1 here, .* => if they do not: manager\.url/,
    )
    assert.match(
      judge({ url: 'https://127.0.1.1:9700', resolved: ['127.0.1.1'] })[0]!,
      /leads to 127\.0\.1\.1, which is each machine itself\. => manager\.listen/,
    )
    assert.match(judge({ resolved: 'ENOTFOUND' })[0]!, /is not known here: ENOTFOUND\. => manager\.url/)
    assert.match(judge({ port: 0 })[0]!, /at a port that is chosen when the factory starts/)
    assert.match(judge({ listening: 'EADDRINUSE' })[0]!, /could not listen at 0\.0\.0\.0:9700: EADDRINUSE/)
    assert.match(judge({ running: 'timeout' })[0]!, /does not answer: timeout/)
    assert.match(judge({ certificate: { names: ['old'], matches: false } })[0]!, /The certificate names old/)
    assert.deepEqual(judge({ remoteSites: [], resolved: ['127.0.0.1'] }), [])
  })
  test('is well where a probe has reached it, whatever its name seems to be here', () => {
    const reachedFrom = ['gpu']
    for (const facts of [{ resolved: ['127.0.1.1'] }, { resolved: 'ENOTFOUND' }, { port: 0 }])
      assert.deepEqual(judge({ ...facts, reachedFrom }), [], JSON.stringify(facts))
    const [told] = judgeAddress({ ...well, resolved: ['127.0.1.1'], reachedFrom })
    assert.match(told!.text, /the probe's pilot reached it\.$/)
    const [open] = judgeAddress({
      ...well,
      resolved: ['127.0.1.1'],
      reachedFrom,
      remoteSites: ['gpu', 'cpu'],
    })
    assert.match(open!.why!, /^Pilots of cpu look the name up/)
    const here = { url: 'http://127.0.0.1:9700', resolved: ['127.0.0.1'], tls: false, reachedFrom }
    assert.match(judge(here)[0]!, /reached it, because it ran on this very machine\. => manager\.listen/)
  })

  test('is complained of where a relay on another machine could not dial it', () => {
    const relayedSites = [{ name: 'far', host: 'gateway' }]
    const loopback = { url: 'http://127.0.0.1:9700', resolved: ['127.0.0.1'], tls: false, remoteSites: [] }
    assert.match(
      judge({ ...loopback, relayedSites })[0]!,
      /^relay: The manager is at .* => manager\.listen: 0/,
    )
    assert.deepEqual(judge({ ...loopback, relayedSites: [{ name: 'far', host: '127.0.0.1' }] }), [])
    assert.deepEqual(judge({ relayedSites }), [])
  })
})

test('a finding that says that no pilot starts is one no longer once a pilot of the probe has started', () => {
  const [finding] = judgeHtcondor(site('htcondor', {}) as HtcondorSiteConfig, {
    ...{ version: '$CondorVersion: 23.9.6 $', limits: '', slots: '' },
  }).filter(({ check }) => check === 'htcondor-slots')
  const before = settle(finding!, { hasStarted: false })
  assert.deepEqual(
    [before.verdict, before.fix !== undefined, 'ifNoneStarts' in before],
    ['warning', true, false],
  )
  assert.deepEqual(settle(finding!, { hasStarted: true }), {
    ...{ check: 'htcondor-slots', site: 'gpu', verdict: 'ok' },
    text: "The pool shows no slots; the probe's pilot started all the same.",
  })
})
