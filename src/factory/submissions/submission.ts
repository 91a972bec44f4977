import { randomBytes } from 'node:crypto'
import { mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { HostName } from '../../protocol/primitives.ts'
import type { PilotRegistry } from '../../core/interfaces/pilot-registry.ts'
import type { SiteConfig } from '../config/config.ts'
import { shellPath, shellQuote, shippedTemplate } from './submit-template.ts'

/** Pilots submitted together, and the folder with everything their jobs need. */
export type Submission = {
  id: string
  /** `STATE/submissions/SITE/ID`, only for its owner. Its file `pilots` has one pilot a line. */
  record: string
  /** Where its jobs run from, as the batch system sees it: the record itself, or a copy of it on a submit node. */
  folder: string
  pilots: string[]
  /** Nodes the batch system should not choose, by its own names for them. */
  avoidNodes: string[]
}

/** What every pilot needs to boot, whatever its site. */
export type Boot = {
  /** Where pilots reach the manager; several addresses are separated by blanks and tried in order. */
  managerUrl: string
  /** PEM file with the manager's certificate, when it uses TLS. */
  caFile?: string
  /**
   * The runtime: a gzipped tar with `node` and `worker.js` at its top, and the same for nodes that have zstd. Read in place
   * where nodes see those paths.
   */
  runtime: {
    path: string
    sha256: string
    zstd?: { path: string; sha256: string }
    /** What it takes on a node's disk, bytes. */
    unpackedBytes?: number
  }
  /** What of the runtime is run. Default: `worker`. */
  program?: 'probe'
  /** Where nodes see a copy of the runtime, if it was brought to them. */
  deliveredRuntime?: string
  /** URLs of a relay that has the runtime, too; several are separated by blanks and tried in order. */
  runtimeSources?: string
}

/** @returns what pilots boot with that reach the manager through a relay, which has the runtime at a path */
export function bootThrough(
  boot: Boot,
  relay: { addresses: readonly string[]; port: number; runtime: string },
): Boot {
  const urls = (protocol: string) =>
    relay.addresses
      .map((host) => `${protocol}//${host.includes(':') ? `[${host}]` : host}:${relay.port}`)
      .join(' ')
  return {
    ...boot,
    managerUrl: urls(new URL(boot.managerUrl).protocol),
    deliveredRuntime: relay.runtime,
    runtimeSources: urls('http:'),
  }
}

/** What a batch system is given for a submission. */
export type JobFile = {
  name: string
  content: string
  /** Links in the submission's folder that make logs named by the batch system come out under the pilots' names. */
  links?: { name: string; target: string }[]
}

export type SubmissionFile = JobFile & { mode: number }

export const submissionsFolder = (stateFolder: string, site: string): string =>
  join(stateFolder, 'submissions', site)

/** @param seenFolder the site's folder as the batch system sees it, where that is another one */
export function newSubmission(
  siteFolder: string,
  pilots: string[],
  avoidNodes: string[],
  seenFolder = siteFolder,
): Submission {
  // The random part keeps a folder from being written twice should a new ledger number its pilots from 1 again.
  const id = `${pilots[0]}-${randomBytes(3).toString('hex')}`
  // A name that is none may come from a log or a queue; it must not end a line of the job's description.
  const names = avoidNodes.filter((node) => HostName.safeParse(node).success)
  return { id, record: join(siteFolder, id), folder: join(seenFolder, id), pilots, avoidNodes: names }
}

export const pilotLog = (submission: Submission, pilot: string): string =>
  join(submission.folder, 'logs', `${pilot}.log`)

/** The submissions of a pilot that have folders, and the names of their sites. */
export async function findSubmissions(
  stateFolder: string,
  pilot: string,
): Promise<{ site: string; submission: Submission }[]> {
  const found: { site: string; submission: Submission }[] = []
  for (const site of await readdir(join(stateFolder, 'submissions')).catch(ifMissing([])))
    for (const submission of await readSubmissions(submissionsFolder(stateFolder, site)))
      if (submission.pilots.includes(pilot)) found.push({ site, submission })
  return found
}

/** The files of a submission but for the tokens: what an admin may see, and `--dry-run` shows. */
export function submissionFiles(
  submission: Submission,
  site: SiteConfig,
  boot: Boot,
  job: JobFile,
): SubmissionFile[] {
  return [
    { ...job, mode: 0o700 },
    { name: 'pilot.sh', content: readFileSync(shippedTemplate('pilot.sh'), 'utf8'), mode: 0o700 },
    { name: 'pilot.env', content: pilotSettings(site, boot), mode: 0o600 },
    // Empty without TLS, so that a job always has the same files.
    { name: 'ca.pem', content: boot.caFile ? readFileSync(boot.caFile, 'utf8') : '', mode: 0o600 },
    { name: 'setup.sh', content: setupFile(site.setup), mode: 0o600 },
    { name: 'pilots', content: submission.pilots.map((pilot) => `${pilot}\n`).join(''), mode: 0o600 },
  ]
}

/** The site's own lines, and after them what tells pilot.sh that they were run to their end. */
export function setupFile(setup: string): string {
  const lines = setup.trimEnd()
  return lines === '' ? '' : `${lines}\n\n# For pilot.sh: how the last line ended.\ngleaner_reached=$?\n`
}

/** Settings that pilot.sh sources. Nothing in them is secret. */
function pilotSettings(site: SiteConfig, boot: Boot): string {
  const { managerUrl, runtime, program, deliveredRuntime, runtimeSources } = boot
  const { path, sha256, unpackedBytes = 0 } = runtime
  // What was brought to the nodes is there in one form only.
  const zstd = deliveredRuntime === undefined ? runtime.zstd : undefined
  const settings: [name: string, word: string | undefined][] = [
    [
      'GLEANER_MANAGER',
      shellQuote(
        typeof site.relay === 'string' ? `${new URL(managerUrl).protocol}//${site.relay}` : managerUrl,
      ),
    ],
    ['GLEANER_RUNTIME_SOURCES', runtimeSources && shellQuote(runtimeSources)],
    ['GLEANER_RUNTIME_SHA256', shellQuote(sha256)],
    ['GLEANER_RUNTIME_ZSTD_SHA256', zstd && shellQuote(zstd.sha256)],
    ['GLEANER_RUNTIME_ZSTD_FILE', zstd && shellQuote(zstd.path)],
    ['GLEANER_RUNTIME_MB', Math.ceil(unpackedBytes / 2 ** 20).toString()],
    ['GLEANER_PROGRAM', program],
    ['GLEANER_CACHE', site.cacheFolder && shellPath(site.cacheFolder)],
    ['GLEANER_SHARED', site.sharedFolder && shellPath(site.sharedFolder)],
    ['GLEANER_SETUP_SHELL', site.setupShell && shellQuote(site.setupShell)],
    ['GLEANER_WALLTIME', site.walltime?.toString()],
    ['GLEANER_GRACE', site.grace.toString()],
    ['GLEANER_PATIENCE', site.patience.toString()],
    ['GLEANER_SHELL', site.shell ? 'yes' : undefined],
    ['GLEANER_CPUS', site.cpus.toString()],
    ['GLEANER_ASKED_GPUS', site.gpus.toString()],
    ['GLEANER_GPUS_PER_SLOT', site.gpusPerSlot.toString()],
    ['GLEANER_SLOTS_PER_GPU', site.slotsPerGpu.toString()],
    // What the batch system gives by itself is for the node to find out.
    ['GLEANER_MEMORY_MB', site.memory === 'none' || site.memory === 0 ? undefined : site.memory.toString()],
  ]
  const lines = settings.flatMap(([name, word]) => (word ? [`${name}=${word}\n`] : []))
  // The shell takes the last; the first is how the runtime is found to be needed still.
  return runtimeSetting(path) + (deliveredRuntime ? runtimeSetting(deliveredRuntime) : '') + lines.join('')
}

/** Writes the record of a submission. What reads it can act as its pilots, so only its owner can. */
export async function writeSubmission(
  { record, folder: seen }: Submission,
  files: SubmissionFile[],
  tokens: { pilot: string; token: string }[],
): Promise<void> {
  for (const folder of ['', 'tokens', 'logs', 'jobs'])
    await mkdir(join(record, folder), { recursive: true, mode: 0o700 })
  if (seen !== record) await writeFile(join(record, 'folder'), seen, { mode: 0o600 })
  for (const { name, content, mode, links = [] } of files) {
    await writeFile(join(record, name), content, { mode })
    for (const link of links) await symlink(link.target, join(record, link.name))
  }
  for (const { pilot, token } of tokens)
    await writeFile(join(record, 'tokens', `${pilot}.token`), `${token}\n`, { mode: 0o600 })
}

/** The submissions whose folders are there, oldest first as far as their names tell. */
export async function readSubmissions(siteFolder: string): Promise<Submission[]> {
  const names = await readdir(siteFolder).catch(ifMissing([]))
  const read = async (id: string): Promise<Submission> => {
    const record = join(siteFolder, id)
    // A record without this file is one whose writing was cut short: it was never submitted.
    const pilots = await readFile(join(record, 'pilots'), 'utf8').catch(ifMissing(''))
    const folder = await readFile(join(record, 'folder'), 'utf8').catch(ifMissing(record))
    return { id, record, folder, pilots: pilots.split('\n').filter(Boolean), avoidNodes: [] }
  }
  return Promise.all(names.map(read))
}

/**
 * Tells from which runtimes pilots boot, however long ago they were submitted, and at sites that are not configured any more.
 * @returns whether some do from the one at a path
 */
export async function bootedRuntimes(
  stateFolder: string,
  registry: Pick<PilotRegistry, 'list'>,
): Promise<(path: string) => boolean> {
  const settings: string[] = []
  for (const site of await readdir(join(stateFolder, 'submissions')).catch(ifMissing([]))) {
    const present = new Set(registry.list(site).map(({ pilot }) => pilot))
    for (const { record, pilots } of await readSubmissions(submissionsFolder(stateFolder, site))) {
      if (!pilots.some((pilot) => present.has(pilot))) continue
      settings.push(await readFile(join(record, 'pilot.env'), 'utf8').catch(ifMissing('')))
    }
  }
  return (path) => settings.some((text) => text.includes(runtimeSetting(path)))
}

const runtimeSetting = (path: string) => `GLEANER_RUNTIME_FILE=${shellQuote(path)}\n`

/** Removes the record of a submission. */
export async function removeSubmission(submission: Submission): Promise<void> {
  await rm(submission.record, { recursive: true, force: true })
}

/** Also for what lies in a file where a folder should be: other programs leave files in folders, too. */
const ifMissing =
  <T>(fallback: T) =>
  (error: NodeJS.ErrnoException): T => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return fallback
    throw error
  }
