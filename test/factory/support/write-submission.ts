import type { SiteConfig } from '../../../src/factory/config/config.ts'
import type { Site } from '../../../src/factory/sites/site.ts'
import {
  type Boot,
  type Submission,
  newSubmission,
  submissionFiles,
  writeSubmission,
} from '../../../src/factory/submissions/submission.ts'

export type Place = { config: SiteConfig; siteFolder: string; boot: Boot }

/** Writes the folder of a submission of these pilots, as the factory does before it submits. */
export async function prepare(
  site: Site,
  { config, siteFolder, boot }: Place,
  pilots: string[],
): Promise<Submission> {
  const submission = newSubmission(siteFolder, pilots, [])
  const files = submissionFiles(submission, config, boot, site.render(submission))
  await writeSubmission(
    submission,
    files,
    pilots.map((pilot) => ({ pilot, token: `secret of ${pilot}` })),
  )
  return submission
}
