import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judgeProbes, type ProbeFacts } from '../../src/doctor/policy/judge-probe.ts'
import type { NodeReport, ProbeMessage } from '../../src/protocol/probe.ts'

const site = { name: 'gpu', gpus: 1, grace: 10, max: 2 }
const healthy: NodeReport = {
  ...{ kind: 'report', pilot: 'probe1', node: 'n1', port: 4000, cpus: 4, proxies: {}, clock: 0, tookMs: 5 },
  cache: { folder: '/scratch/cache', freeBytes: 100e9, filesystem: 'xfs' },
  gpus: { given: ['0'], shown: ['A100, 550.1, 81920 MiB'], devices: ['nvidia0'] },
  libraries: [{ name: 'libvulkan.so.1', ok: true }],
  providers: [
    { name: 'cpu', ok: true },
    { name: 'webgpu', ok: true },
  ],
  programs: { curl: 'curl 8', tar: 'tar 1', zstd: 'zstd 1', python3: 'Python 3.11' },
}

/** What was heard of two probes on such nodes, unless something else is said. */
function heardOf(report: Partial<NodeReport> = {}, { clockAhead = 0, letMs = 10_400 } = {}): ProbeFacts {
  const messages: ProbeMessage[] = [
    { ...healthy, ...report },
    { ...healthy, ...report, pilot: 'probe2', node: 'n2' },
    { kind: 'reached', pilot: 'probe1', of: 'peer', trial: { name: '10.0.0.2:4000', ok: true } },
    { kind: 'alive', pilot: 'probe1', clock: 1_000 + clockAhead, roundTripMs: 4 },
    { kind: 'alive', pilot: 'probe1', clock: 1_000 + clockAhead, roundTripMs: 4, sinceToldMs: letMs },
  ]
  return {
    pilots: ['probe1', 'probe2'],
    heard: messages.map((message) => ({ message, at: 1_002 })),
    ...{ logs: new Map(), waiting: [], waitedMs: 9_000, toldAt: 900 },
  }
}

const troubles = (facts: ProbeFacts, about: Partial<typeof site> = {}) =>
  judgeProbes({ ...site, ...about }, facts).filter(({ verdict }) => verdict !== 'ok')
const only = (facts: ProbeFacts, about?: Partial<typeof site>) => {
  const found = troubles(facts, about)
  assert.equal(found.length, 1, JSON.stringify(found))
  assert.ok(found[0]!.why !== undefined && found[0]!.fix !== undefined)
  return found[0]!
}

test('nodes that have all that pilots want are found to be well', () => {
  assert.deepEqual(troubles(heardOf()), [])
})

test('a cache folder in memory, or on a full disk, is told with the key that moves it', () => {
  const cache = healthy.cache
  const full = only(heardOf({ cache: { ...cache, freeBytes: 1e9 } }))
  assert.equal(full.check, 'probe-cache')
  assert.match(full.fix!, /sites\.gpu\.cacheFolder/)
  assert.match(only(heardOf({ cache: { ...cache, filesystem: 'tmpfs' } })).text, /takes up memory/)
})

test('a site that asks for GPUs and gets none, or cannot compute with them, is told so', () => {
  const none = only(heardOf({ gpus: { given: [], shown: [], devices: [] } }))
  assert.deepEqual([none.check, none.verdict], ['probe-gpu', 'error'])
  const providers = [
    { name: 'cpu', ok: true },
    { name: 'webgpu', ok: false, said: 'no adapter' },
  ]
  const libraries = [{ name: 'libvulkan.so.1', ok: false, said: 'cannot open shared object file' }]
  const slow = only(heardOf({ providers, libraries }))
  assert.match(slow.text, /the engine can use none \(not with webgpu: no adapter\)/)
  assert.match(slow.fix!, /Vulkan loader/)
  const bare = judgeProbes({ ...site, gpus: 0 }, heardOf({ providers, libraries }))
  assert.deepEqual(
    bare.filter(({ check }) => check === 'probe-engine').map(({ verdict, text }) => `${verdict}: ${text}`),
    ['ok: The engine computes with cpu.'],
  )
})

test('programs that a pilot came up without are not complained of', () => {
  const facts = heardOf({ programs: { tar: 'tar 1', gzip: 'gzip 1' } })
  assert.deepEqual(troubles(facts), [])
  const [tools] = judgeProbes(site, facts).filter(({ check }) => check === 'probe-tools')
  assert.match(tools!.text, /^There are tar, gzip\. Without curl and wget, the pilot came up/)
})

test('a clock that is off, and one that only seems so for a slow network, are told apart', () => {
  const ahead = only(heardOf({}, { clockAhead: 60_000 }))
  assert.match(ahead.text, /1 min ahead of this machine's/)
  assert.deepEqual(troubles(heardOf({}, { clockAhead: 1_500 })), [])
})

test('a grace that is shorter than the site says, and a kill without warning, are told', () => {
  const short = only(heardOf({}, { letMs: 5_200 }))
  assert.match(short.text, /killed 5.* later; the site says 10 s/)
  assert.equal(short.fix, 'sites.gpu.grace: 5s')
  const facts = heardOf()
  const heard = facts.heard.filter(({ message }) => !('sinceToldMs' in message))
  assert.match(only({ ...facts, heard }).text, /Whether pilots are warned/)
})

test('peers and a manager that cannot be reached are told with what they said', () => {
  const facts = heardOf()
  const failed = (of: 'peer' | 'manager') => ({
    message: {
      ...({ kind: 'reached', pilot: 'probe1', of } as const),
      trial: { name: 'https://login:9700', ok: false, said: 'connect EHOSTUNREACH' },
    },
    at: 1_002,
  })
  assert.equal(only({ ...facts, heard: [...facts.heard, failed('peer')] }).check, 'probe-peer')
  const lost = only({ ...facts, heard: [...facts.heard, failed('manager')] })
  assert.deepEqual([lost.check, lost.verdict], ['probe-manager', 'error'])
  assert.match(lost.text, /n1 cannot reach https:\/\/login:9700: connect EHOSTUNREACH/)
})

test('a report that came with a log only says that the node cannot reach this machine', () => {
  const facts = heardOf()
  const heard = facts.heard.filter(({ message }) => message.kind === 'report')
  const checks = troubles({ ...facts, heard }).map(({ check, verdict }) => `${check} ${verdict}`)
  assert.deepEqual(checks, ['probe-manager error', 'probe-peer warning', 'probe-grace warning'])
})

test('a pilot that did not come up is told in the words of its log, one that waits in those of the queue', () => {
  const nothing = { ...heardOf(), heard: [], toldAt: undefined }
  const log =
    'noise\ngleaner: probe1 on n7: error 69 unreachable: no runtime from https://login:9700: timed out\n'
  const failed = only({ ...nothing, logs: new Map([['probe1', log]]) })
  assert.match(failed.text, /unreachable: no runtime from https:\/\/login:9700: timed out/)
  assert.match(failed.fix!, /manager\.listen/)
  const waiting = nothing.pilots.map((pilot) => ({ pilot, reason: 'Priority' }))
  const slow = only({ ...nothing, waiting })
  assert.match(slow.text, /within 9 s: Priority/)
  assert.match(slow.fix!, /--wait/)
})
