import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '../config/config-error.ts'
import type { Config, SiteConfig } from '../config/config.ts'
import { makeSite } from '../factory.ts'
import { openTransports } from '../transports/open-transports.ts'
import { type Boot, submissionFiles, submissionsFolder, writeSubmission } from './submission.ts'

/** Longest that a site may take to answer, milliseconds. */
const LIMIT = 60_000

export type DryRun = {
  /** What the submission's folder would hold, but for the pilots' tokens. */
  files: { name: string; content: string }[]
  folder: string
  command: string[]
}

/**
 * What would be submitted at a site, without submitting or writing anything.
 * @throws {ConfigError} naming the sites there are, if this is none of them; or what is wrong with its template.
 */
export async function dryRun(
  config: Config,
  siteName: string,
  count: number,
  stateFolder: string,
  boot: Boot,
): Promise<DryRun> {
  const site = siteOf(config, siteName)
  const pilots = Array.from({ length: count }, (_, index) => `p${index + 1}`)
  using transports = openTransports(stateFolder)
  const record = `${submissionsFolder(stateFolder, siteName)}/dry-run`
  const batch = makeSite(site, 'dry-run', stateFolder, transports, () => {})
  const folder = await batch.files.folderFor(record, AbortSignal.timeout(LIMIT))
  const submission = { id: 'dry-run', record, folder, pilots, avoidNodes: [] }
  const files = submissionFiles(submission, site, boot, batch.render(submission))
  return { files, folder, command: batch.command(submission) }
}

/**
 * Asks a site's batch system whether it would take what the factory submits, without submitting it: a partition or an
 * account that is not there is found now, and not by the first pilot. The files are written for it, and removed again.
 * @throws {ConfigError} like {@link dryRun}; {@link TransportError} if it cannot be asked
 */
export async function checkSite(
  config: Config,
  siteName: string,
  stateFolder: string,
  boot: Boot,
): Promise<{ accepted: boolean; said: string }> {
  const site = siteOf(config, siteName)
  using transports = openTransports(stateFolder)
  const record = await mkdtemp(join(stateFolder, 'check-'))
  const signal = AbortSignal.timeout(LIMIT)
  const batch = makeSite(site, 'check', stateFolder, transports, () => {})
  const folder = await batch.files.folderFor(record, signal)
  try {
    const submission = { id: 'check', record, folder, pilots: ['p1'], avoidNodes: [] }
    const files = submissionFiles(submission, site, boot, batch.render(submission))
    await writeSubmission(submission, files, [{ pilot: 'p1', token: 'none' }])
    await batch.files.copy(record, folder, signal)
    return await batch.check(submission, signal)
  } finally {
    await batch.files.remove(folder, signal)
    await rm(record, { recursive: true, force: true })
  }
}

/** @throws {ConfigError} naming the sites there are, if this is none of them */
export function siteOf(config: Config, name: string): SiteConfig {
  const site = config.sites.find((one) => one.name === name)
  if (site) return site
  const names = config.sites.map((one) => one.name).join(', ')
  throw new ConfigError(`there is no site ${name}: factory.yaml has ${names || 'none'}`)
}
