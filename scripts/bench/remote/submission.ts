import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BatchSiteConfig, ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'
import { makeSite } from '../../../src/factory/factory.ts'
import {
  newSubmission,
  submissionFiles,
  submissionsFolder,
  writeSubmission,
} from '../../../src/factory/submissions/submission.ts'
import { openTransports } from '../../../src/factory/transports/open-transports.ts'
import { farSlurm } from '../../../test/factory/transports/ssh/fake-remote-slurm.ts'
import { knownHost, startSshd } from '../../../test/factory/transports/ssh/sshd.ts'
import { startLink } from './wide-link-process.ts'

export type SubmissionFigures = {
  pilots: number
  /** Medians, seconds: from the pilots' names to the batch system's answer. */
  local: number
  remote: number
  /** The first over a connection that is not open yet. */
  remoteFirst: number
}

/**
 * What a submission takes through a submit node behind a wide link, and what the same takes without one. The batch system is the same
 * few commands in both, which answer at once: what differs is the way.
 */
export async function measureSubmission(
  pilots: number,
  repeats: number,
  link: { delay: number; rate: number },
): Promise<SubmissionFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-remote-'))
  await using sshd = await startSshd()
  await using wide = await startLink({
    to: { host: '127.0.0.1', port: sshd.port },
    at: { host: '127.0.0.1', port: 0 },
    ...link,
  })
  await writeFile(sshd.knownHosts, knownHost(`[127.0.0.1]:${wide.port}`, sshd.hostKey))
  const transport = { ssh: `login:${wide.port}`, config: sshd.config, folder: join(folder, 'far') }
  try {
    const local = await measureSite(join(folder, 'local'), {}, pilots, repeats)
    const remote = await measureSite(join(folder, 'remote'), { transport }, pilots, repeats)
    return { pilots, local: median(local.slice(1)), remote: median(remote.slice(1)), remoteFirst: remote[0]! }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function measureSite(state: string, more: object, pilots: number, repeats: number): Promise<number[]> {
  const slurm = farSlurm(state)
  const sites = { far: { kind: 'slurm', count: pilots, commandEnvironment: slurm.environment, ...more } }
  const config = resolveConfig(ConfigFile.parse({ sites })).sites[0] as BatchSiteConfig
  using transports = openTransports(state)
  const site = makeSite(config, 'bench', state, transports, () => {})
  const siteFolder = submissionsFolder(state, 'far')
  const boot = { managerUrl: 'http://127.0.0.1:9', runtime: { path: '/nowhere', sha256: '0'.repeat(64) } }
  const times: number[] = []
  for (let time = 0; time <= repeats; time++) {
    const names = Array.from({ length: pilots }, (_, index) => `p${time * pilots + index + 1}`)
    const began = performance.now()
    const signal = AbortSignal.timeout(60_000)
    const seen = await site.files.folderFor(siteFolder, signal)
    const submission = newSubmission(siteFolder, names, [], seen)
    const files = submissionFiles(submission, config, boot, site.render(submission))
    await writeSubmission(submission, files, names.map((pilot) => ({ pilot, token: `of ${pilot}` }))) // prettier-ignore
    await site.files.copy(submission.record, submission.folder, signal)
    const jobs = await site.submit(submission, signal)
    if (jobs.length !== pilots) throw new Error(`${jobs.length} of ${pilots} pilots were submitted`)
    times.push((performance.now() - began) / 1000)
  }
  return times
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
