import { join } from 'node:path'
import { type BatchSiteConfig, templateVariables } from '../config/config.ts'
import { type Submission, readSubmissions } from '../submissions/submission.ts'
import { renderTemplate, shippedTemplate } from '../submissions/submit-template.ts'
import { type CommandResult, NotStartedError, type Transport } from '../transports/transport.ts'
import { type BatchKind, oneLine, withOptions } from './batch-kind.ts'
import { type Job, type Site, SubmitRefused } from './site.ts'
import { SubmitRefusals } from './submit-refusals.ts'

/** Most jobs that one command removes: a command line has an end. */
const REMOVED_AT_ONCE = 1000

/** A site whose batch system is asked by commands. */
export function batchSite<Config extends BatchSiteConfig>(
  kind: BatchKind<Config>,
  config: Config,
  factoryId: string,
  siteFolder: string,
  transport: Transport,
): Site {
  const place = { config, factoryId }
  const refusals = new SubmitRefusals(kind, transport)
  let user = ''

  const render = (submission: Submission) => {
    const { site, submission: more } = kind.templateValues(place, submission)
    const variables = {
      site: { ...templateVariables(config), ...site },
      submission: { ...submission, ...more },
    }
    const text = renderTemplate(config.template ?? shippedTemplate(kind.jobFile), variables)
    return withOptions(text, kind.option, config.options)
  }
  const rendered = (submission: Submission) => ({
    name: kind.jobFile,
    content: render(submission),
    links: kind.links?.(submission) ?? [],
  })
  const command = ({ folder }: Submission) => kind.submit(join(folder, kind.jobFile))
  const sample = () =>
    render({ id: 'sample', record: siteFolder, folder: siteFolder, pilots: ['sample'], avoidNodes: [] })

  return {
    lateness: 60_000,
    certain: false,
    get largest() {
      return refusals.largest
    },

    files: transport.files,
    sharesFiles: kind.sharesFiles,
    render: rendered,

    command,

    async check({ folder }, signal) {
      const { code, stdout, stderr } = await transport.run(kind.check(join(folder, kind.jobFile)), {
        cwd: folder,
        signal,
      })
      return { accepted: code === 0, said: oneLine(`${stderr}\n${stdout}`) }
    },

    async submit(submission, signal) {
      const { folder, pilots } = submission
      const result = await transport
        .run(command(submission), { cwd: folder, signal })
        .catch(refuseIfNotStarted)
      if (result.code !== 0) throw await refusals.explain(result, pilots.length, signal)
      const jobIds = kind.jobIds(result.stdout, pilots.length)
      if (!jobIds)
        throw new Error(
          `${kind.submitter} answered ${JSON.stringify(result.stdout.slice(0, 200))} and no job`,
        )
      return pilots.map((pilot, index) => ({ pilot, jobId: jobIds[index]! }))
    },

    ask: (command, signal) => transport.run(command, { signal }),

    async list(signal) {
      user ||= succeed(await transport.run(['id', '-un'], { signal })).stdout.trim()
      const { stdout } = succeed(await transport.run(kind.list({ ...place, user }, sample), { signal }))
      return kind.jobs(stdout, stdout.trim() ? await readSubmissions(siteFolder) : [])
    },

    async remove(jobs, { unlessRunning, signal }) {
      const problems: string[] = []
      for (const some of chunks(jobs, REMOVED_AT_ONCE))
        for (const command of kind.remove(some, unlessRunning)) {
          const { code, stderr } = await transport.run(command, { signal })
          const said = stderr.split('\n').filter((line) => line.trim())
          const serious = said.filter((line) => !kind.gone.test(line))
          if (code !== 0 && (serious.length > 0 || said.length === 0))
            problems.push(oneLine(serious.join('\n')) || `${command[0]}: exit code ${code}`)
        }
      if (problems.length > 0) throw new Error(problems.join('; '))
    },
  }
}

function refuseIfNotStarted(error: unknown): never {
  if (error instanceof NotStartedError) throw new SubmitRefused(error.message, { cause: error })
  throw error
}

function succeed(result: CommandResult): CommandResult {
  if (result.code === 0) return result
  throw new Error(oneLine(result.stderr) || `exit code ${result.code}`)
}

function chunks(jobs: Job[], size: number): Job[][] {
  return Array.from({ length: Math.ceil(jobs.length / size) }, (_, index) =>
    jobs.slice(index * size, (index + 1) * size),
  )
}
