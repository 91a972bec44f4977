import { ConfigError } from '../config/load-config.ts'
import type { Config } from '../config/config.ts'
import { makeSite } from '../factory.ts'
import { type Boot, submissionFiles, submissionsFolder } from './submission.ts'

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
export function dryRun(
  config: Config,
  siteName: string,
  count: number,
  stateFolder: string,
  boot: Boot,
): DryRun {
  const site = config.sites.find(({ name }) => name === siteName)
  if (!site) {
    const names = config.sites.map(({ name }) => name).join(', ')
    throw new ConfigError(`there is no site ${siteName}: factory.yaml has ${names || 'none'}`)
  }
  const pilots = Array.from({ length: count }, (_, index) => `p${index + 1}`)
  const folder = `${submissionsFolder(stateFolder, siteName)}/dry-run`
  const submission = { id: 'dry-run', folder, pilots, avoidNodes: [] }
  const batch = makeSite(site, 'dry-run', stateFolder, () => {})
  const files = submissionFiles(submission, site, boot, batch.render(submission))
  return { files, folder, command: batch.command(submission) }
}
