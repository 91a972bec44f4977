import type { SiteConfig } from '../config/config.ts'
import type { JobFile, Submission } from '../submissions/submission.ts'
import type { Job, Listing } from './site.ts'

/** What the commands of one site depend on. */
export type Place<Config extends SiteConfig> = { config: Config; factoryId: string }

/**
 * One kind of batch system that is asked by commands: what it is told, and how its answers are read. All of it is pure;
 * `batchSite` runs the commands.
 */
export type BatchKind<Config extends SiteConfig> = {
  /** Its name for users, in front of what it complains of. */
  submitter: string
  /** The job file, and the template that comes with Gleaner. */
  jobFile: string
  /** Whether its nodes usually see the submit node's files. */
  sharesFiles: boolean
  /** Variables of the environment, beyond the usual ones, that its commands need. */
  environment: readonly string[]
  /** What the template is given beyond the site's settings and the submission. */
  templateValues(
    place: Place<Config>,
    submission: Submission,
  ): { site?: Record<string, unknown>; submission?: Record<string, unknown> }
  /** See {@link JobFile}. */
  links?(submission: Submission): NonNullable<JobFile['links']>

  /** How the job file sets an option, and which lines of it do. */
  option: {
    line(name: string, value: string | number | true): string
    matches(line: string, name: string): boolean
  }

  submit(file: string): string[]
  /** Has the batch system say whether it would take a job file, without submitting it. */
  check(file: string): string[]
  /** The jobs' ids in the order of the pilots, from what the submission's command said; undefined if it does not say. */
  jobIds(stdout: string, pilots: number): string[] | undefined
  refusal: {
    /** What is said with a definite no. Anything else may have been taken. */
    definite: RegExp
    /** What is said when the outcome is unknown, though it looks like a no: the answer was lost. */
    open: RegExp
    /** A no to so many at once. */
    tooMany: RegExp
    /** A limit on the size of one submission, which can be asked for when there are too many. */
    limit?: { said: RegExp; ask: string[]; largest(stdout: string): number | undefined }
  }

  /**
   * The command that lists this user's jobs of this factory at this site, and no other user's: names and attributes are
   * public, and anybody may give a job ours.
   * @param script a job file as it is rendered at this site
   */
  list(place: Place<Config> & { user: string }, script: () => string): string[]
  /** @param submissions those whose folders are there */
  jobs(stdout: string, submissions: readonly Submission[]): Listing

  /** Commands that together remove jobs. */
  remove(jobs: readonly Job[], unlessRunning: boolean): string[][]
  /** What is said, as an error, when nothing was left to remove. */
  gone: RegExp
}

/** A job file with options in place of the lines that set them, or beside those. The first line stays the first. */
export function withOptions(
  text: string,
  option: BatchKind<SiteConfig>['option'],
  options: Readonly<Record<string, string | number | true>>,
): string {
  const names = Object.keys(options)
  const [first = '', ...rest] = text
    .split('\n')
    .filter((line) => !names.some((name) => option.matches(line, name)))
  const set = Object.entries(options).filter(([, value]) => value !== 'none')
  return [first, ...set.map(([name, value]) => option.line(name, value)), ...rest].join('\n')
}

export const oneLine = (text: string): string => text.trim().replace(/\s*\n\s*/g, ' ')

/** How an odd record is shown to the user. */
export const excerpt = (record: string): string => JSON.stringify(record.slice(0, 200))
