import { duration, size } from '../../common/plain/quantity-text.ts'
import type { SiteConfig } from '../../factory/config/config.ts'
import type { NodeReport, ProbeMessage, Reached, Trial } from '../../protocol/probe.ts'
import { type Finding, findingsOf } from './finding.ts'

/** What came of the probes of a site. Times are milliseconds by the doctor's clock. */
export interface ProbeFacts {
  pilots: readonly string[]
  heard: readonly { message: ProbeMessage; at: number }[]
  logs: ReadonlyMap<string, string>
  waiting: readonly { pilot: string; reason: string | undefined }[]
  waitedMs: number
  toldAt: number | undefined
}

type Site = Pick<SiteConfig, 'name' | 'gpus' | 'grace' | 'max'>

const GB = 1e9
const LEAST_CACHE = 5 * GB
const MOST_OFF_MS = 2_000
/** By so much less than the site says, in parts of it, is the grace too short. */
const GRACE_SLACK_MS = 1_500
const LAST_WORDS = /^gleaner: \S+ on \S+: error \d+ (?<name>[\w-]+): (?<message>.*)$/gm

/** What the probes of a site have found out, or why they have not. */
export function judgeProbes(site: Site, facts: ProbeFacts): Finding[] {
  const reports = facts.heard.flatMap(({ message }) => (message.kind === 'report' ? [message] : []))
  const boot = judgeBoot(site, facts, reports)
  // One node tells for all that several would say alike.
  const [first] = reports
  if (!first) return boot
  return [
    ...boot,
    ...judgeReach(site, facts, first),
    ...judgePeers(site, facts),
    judgeProxies(site, first),
    judgeCache(site, first),
    ...judgeGpus(site, first),
    ...judgeProviders(site, first),
    judgePython(site, first),
    judgeTools(site, first),
    judgeClock(site, facts),
    judgeGrace(site, facts),
  ]
}

function judgeBoot({ name }: Site, facts: ProbeFacts, reports: NodeReport[]): Finding[] {
  const { ok, warning, error } = findingsOf('probe', name)
  const found = reports.map(({ node, cpus, tookMs }) =>
    ok(`A pilot came up on ${node} with ${cpus} CPUs, and looked at it in ${duration(tookMs)}.`),
  )
  const silent = facts.pilots.filter((pilot) => !reports.some((report) => report.pilot === pilot))
  const waiting = facts.waiting.filter(({ pilot }) => silent.includes(pilot))
  const failed = silent.filter((pilot) => !waiting.some((one) => one.pilot === pilot))
  const why = 'Nothing is known of the nodes until one starts.'
  if (waiting.length > 0 && found.length === 0)
    found.push(
      warning(
        `No probe has reported within ${duration(facts.waitedMs)}: ${waiting[0]!.reason ?? 'the queue gives no reason'}.`,
        why,
        `wait longer: "factory doctor ${name} --probe --wait SECONDS", or see "factory explain ${name}"`,
      ),
    )
  for (const pilot of failed.slice(0, 1)) {
    const log = facts.logs.get(pilot) ?? ''
    const words = [...log.matchAll(LAST_WORDS)].at(-1)?.groups
    const said = words ? `${words['name']}: ${words['message']}` : (log.trim().split('\n').at(-1) ?? '')
    found.push(
      error(
        `A pilot did not come up: ${said || 'it has left no log'}.`,
        'Every pilot on such a node would fare alike.',
        /unreachable/.test(said)
          ? 'manager.listen and manager.url: an address and a port that nodes can dial; or sharedFolder, or a relay (docs/relay.md)'
          : `the keys of sites.${name}; docs/troubleshooting.md has the words of pilots`,
      ),
    )
  }
  return found
}

function judgeReach({ name }: Site, { heard }: ProbeFacts, { pilot, node }: NodeReport): Finding[] {
  const { ok, error } = findingsOf('probe-manager', name)
  const why = 'A pilot that cannot reach the manager gets no work.'
  const fix =
    'manager.listen: HOST:PORT and manager.url, with an address that nodes can dial, a port that firewalls let pass; or a relay: docs/relay.md'
  if (
    !heard.some(
      ({ message }) =>
        message.pilot === pilot && message.kind === 'alive' && message.roundTripMs !== undefined,
    )
  )
    return [error(`${node} cannot reach this machine: its report came with its log.`, why, fix)]
  const tried = reachedOf(heard, 'manager')
  const failed = tried.find(({ trial }) => !trial.ok)
  if (failed) return [error(`${node} cannot reach ${failed.trial.name}: ${failed.trial.said}.`, why, fix)]
  return [ok(`${node} reaches ${tried[0]?.trial.name ?? 'where the manager will listen'}.`)]
}

const reachedOf = (heard: ProbeFacts['heard'], of: Reached['of']) =>
  heard.flatMap(({ message }) => (message.kind === 'reached' && message.of === of ? [message] : []))

function judgePeers({ name, max }: Site, { heard }: ProbeFacts): Finding[] {
  const { ok, warning } = findingsOf('probe-peer', name)
  const tried = reachedOf(heard, 'peer')
  const failed = tried.find(({ trial }) => !trial.ok)
  const why = 'Workers get the files of contexts from each other; without that, all come from the manager.'
  if (failed)
    return [
      warning(
        `One pilot cannot reach another at ${failed.trial.name}: ${failed.trial.said}.`,
        why,
        'have the firewall of the nodes let connections between nodes pass',
      ),
    ]
  if (tried.length > 0) return [ok('Pilots reach each other.')]
  return max < 2
    ? [ok('The site has one pilot at most: it has no peers to reach.')]
    : [
        warning(
          'No second pilot has started in time: whether pilots reach each other is not known.',
          why,
          `"factory doctor ${name} --probe" again, when two can start`,
        ),
      ]
}

function judgeProxies({ name }: Site, { proxies }: NodeReport): Finding {
  const { ok } = findingsOf('probe-proxy', name)
  const set = Object.entries(proxies).map(([variable, value]) => `${variable}=${value}`)
  return ok(set.length > 0 ? `Proxies are set there: ${set.join(', ')}.` : 'No proxy is set there.')
}

function judgeCache({ name }: Site, { cache }: NodeReport): Finding {
  const { ok, warning } = findingsOf('probe-cache', name)
  const { folder, freeBytes, filesystem } = cache
  const where = `${folder}${filesystem === undefined ? '' : `, on ${filesystem}`}`
  const fix = `sites.${name}.cacheFolder: a folder on a disk of the nodes`
  if (filesystem === 'tmpfs' || filesystem === 'ramfs')
    return warning(
      `The cache folder is ${where}: what is in it takes up memory.`,
      'Models in it may push the job over its memory.',
      fix,
    )
  if (freeBytes !== undefined && freeBytes < LEAST_CACHE)
    return warning(
      `The cache folder is ${where}, with ${size(freeBytes)} free.`,
      'Models and environments lie there.',
      fix,
    )
  return ok(`The cache folder is ${where}${freeBytes === undefined ? '' : `, with ${size(freeBytes)} free`}.`)
}

function judgeGpus({ name, gpus: asked }: Site, { gpus }: NodeReport): Finding[] {
  const { ok, warning, error } = findingsOf('probe-gpu', name)
  const { given, shown, devices } = gpus
  if (asked === 0)
    return [
      shown.length > 0
        ? ok(`The site asks for no GPU; the node has ${shown.join('; ')} (gpus: 1 asks for one).`)
        : ok('The site asks for no GPU.'),
    ]
  if (given.length === 0)
    return [
      error(
        `The site asks for ${asked} GPUs, and the batch system gave the job none.`,
        'The engine would run on processors.',
        `sites.${name}.gpus and extraLines: as the batch system names GPUs`,
      ),
    ]
  if (shown.length > 0) return [ok(`GPUs ${given.join(', ')}: ${shown.join('; ')}.`)]
  return [
    warning(
      `GPUs ${given.join(', ')} are given, and no driver shows them; devices: ${devices.join(', ') || 'none'}.`,
      'Kind and memory of a GPU that no driver shows are not known.',
      `sites.${name}.setup: what puts nvidia-smi (or xpu-smi) on the PATH, if the nodes have it`,
    ),
  ]
}

function judgeProviders({ name, gpus: asked }: Site, { libraries, providers }: NodeReport): Finding[] {
  const { ok, warning } = findingsOf('probe-engine', name)
  const loaded = providers.filter(({ ok }) => ok).map(({ name }) => name)
  const accelerated = loaded.filter((provider) => provider !== 'cpu')
  if (!loaded.includes('cpu'))
    return [
      warning(
        `ONNX Runtime does not run there${refusals(providers)}.`,
        'The built-in engine cannot load a model.',
        'nodes with glibc 2.28 or newer; or a context of another kind',
      ),
    ]
  // A site that asks for no GPUs need not be told what GPUs would want.
  if (asked === 0) return [ok(`The engine computes with ${loaded.join(', ')}.`)]
  if (accelerated.length > 0)
    return [
      ok(`The engine computes with ${loaded.join(', ')}${refusals(providers)}.`),
      ok(`Libraries that can be loaded: ${namesOf(libraries)}.`),
    ]
  const isThere = (library: string) => libraries.some(({ name, ok }) => name.startsWith(library) && ok)
  const advice = isThere('libvulkan')
    ? `docs/engine.md; CUDA needs libcudnn.so.9 and libcublas.so.12 on the nodes: sites.${name}.setup: module load cuda cudnn`
    : `the Vulkan loader (libvulkan.so.1) on the nodes, or CUDA with cuDNN: sites.${name}.setup: module load cuda cudnn; docs/engine.md`
  return [
    warning(
      `The site asks for GPUs, and the engine can use none${refusals(providers)}; libraries that can be loaded: ${namesOf(libraries)}.`,
      'Models would run on processors.',
      advice,
    ),
  ]
}

const namesOf = (libraries: readonly Trial[]) =>
  libraries
    .filter(({ ok }) => ok)
    .map(({ name }) => name)
    .join(', ') || 'none'

const refusals = (trials: readonly Trial[]) => {
  const failed = trials
    .filter(({ ok }) => !ok)
    .map(({ name, said = 'no reason' }) => `${name}: ${said.slice(0, 200)}`)
  return failed.length > 0 ? ` (not with ${failed.join('; ')})` : ''
}

function judgePython({ name }: Site, { programs }: NodeReport): Finding {
  const { ok } = findingsOf('probe-python', name)
  const { python3 } = programs
  return ok(python3 ?? 'There is no python3: contexts in Python must bring one.')
}

/** Whatever is not there, the pilot that reports this came up without. */
function judgeTools({ name }: Site, { programs }: NodeReport): Finding {
  const { ok } = findingsOf('probe-tools', name)
  const have = (program: string) => programs[program] !== undefined
  const there = Object.keys(programs).filter((program) => program !== 'python3')
  const bare = have('curl') || have('wget') ? '' : ' Without curl and wget, the pilot came up all the same.'
  const slow = have('zstd')
    ? ''
    : ' Without zstd, pilots unpack the runtime with gzip, which takes five times as long.'
  return ok(`There are ${there.join(', ')}.${bare}${slow}`)
}

function judgeClock({ name }: Site, { heard }: ProbeFacts): Finding {
  const { ok, warning } = findingsOf('probe-clock', name)
  const offsets = heard.flatMap(({ message, at }) =>
    message.kind === 'alive' && message.roundTripMs !== undefined
      ? [{ offset: message.clock + message.roundTripMs / 2 - at, within: message.roundTripMs / 2 }]
      : [],
  )
  const best = offsets.sort((a, b) => a.within - b.within)[0]
  if (!best) return ok('How the clock of the node goes is not known: it could not reach this machine.')
  const { offset, within } = best
  const off = Math.abs(offset)
  if (off - within <= MOST_OFF_MS)
    return ok(`The clocks of the node and of this machine differ by ${duration(off)}.`)
  return warning(
    `The clock of the node is ${duration(off)} ${offset > 0 ? 'ahead of' : 'behind'} this machine's.`,
    'Deadlines of jobs are times of the batch system; a worker goes by the clock of its node.',
    'have the clocks set by NTP',
  )
}

function judgeGrace({ name, grace }: Site, { heard, toldAt }: ProbeFacts): Finding {
  const { ok, warning } = findingsOf('probe-grace', name)
  const lasted = heard.flatMap(({ message }) =>
    message.kind === 'alive' && message.sinceToldMs !== undefined ? [message.sinceToldMs] : [],
  )
  if (toldAt === undefined || lasted.length === 0)
    return warning(
      'Whether pilots are warned before they are killed is not known: the probe was not heard after it was told to leave.',
      'A worker that is warned hands back what it has; one that is not loses it, and its tasks are done again elsewhere.',
      `sites.${name}: a job file in which nothing stands between the batch system's signal and pilot.sh`,
    )
  const ms = Math.max(...lasted)
  if (ms + GRACE_SLACK_MS >= grace * 1000)
    return ok(`A pilot that is removed gets SIGTERM, and at least ${duration(ms)} to leave.`)
  return warning(
    `A pilot that is removed gets SIGTERM, and is killed ${duration(ms)} later; the site says ${duration(grace * 1000)}.`,
    'Workers plan to use all the time that the site says.',
    `sites.${name}.grace: ${Math.max(1, Math.floor(ms / 1000))}s`,
  )
}
