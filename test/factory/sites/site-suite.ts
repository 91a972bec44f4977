import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { SiteConfig } from '../../../src/factory/config/config.ts'
import { type Job, type Site, SubmitRefused } from '../../../src/factory/sites/site.ts'
import { type Boot, type Submission, pilotLog } from '../../../src/factory/submissions/submission.ts'
import { eventually } from '../support/eventually.ts'
import { prepare } from '../support/write-submission.ts'

/** One batch system, ready to be tried. */
export type SiteHarness = {
  config: SiteConfig
  /** Another view of the same queue, as a factory has it that was just started. */
  open(factoryId: string): Site
  siteFolder: string
  boot: Boot
  /** Where the stand-in worker leaves its marks; the site's shared folder. */
  marks: string
  /** Seconds within which a job starts, or is gone after it was removed. */
  patience: number
  /** Configuration the batch system refuses. */
  refused: (factoryId: string) => Site
  /** Puts a job on hold, and releases it. */
  hold?: (jobId: string) => void
  /** As another user, submits a held job that looks like one of these. */
  imitate?: (factoryId: string, submission: Submission) => Disposable
  /** Configuration whose jobs never get a node. */
  neverStarts?: (factoryId: string) => Site
}

/** A stand-in for the worker that marks when it is up, and when it was told to leave. */
export const markingWorker = `
pilot=$(basename "$GLEANER_TOKEN_FILE" .token)
trap 'echo "$pilot was told to leave"; : >"$GLEANER_SHARED/$pilot.left"; exit 0' TERM
: >"$GLEANER_SHARED/$pilot.up"
while :; do sleep 0.1; done
`

/** What every implementation of {@link Site} must do. */
export function siteSuite(name: string, harness: () => SiteHarness) {
  const run = randomBytes(3).toString('hex')
  let count = 0
  /** A submission of pilots nobody else has. */
  const prepareSome = (site: Site, pilots: number) =>
    prepare(
      site,
      harness(),
      Array.from({ length: pilots }, () => `p${run}${count++}`),
    )
  const factory = (letter: string) => `suite-${run}-${letter}`
  const signal = () => AbortSignal.timeout(600_000)
  const live = async (site: Site) => (await site.list(signal())).jobs.filter(({ state }) => state !== 'ended')
  const names = (jobs: Job[]) => jobs.map(({ pilot }) => pilot).toSorted()
  const marked = (pilot: string, mark: 'up' | 'left') => existsSync(join(harness().marks, `${pilot}.${mark}`))
  const until = <T>(what: string, ask: () => T | Promise<T>) => eventually(what, ask, harness().patience)
  const allUp = (submission: Submission) =>
    until('every worker is up', () => submission.pilots.every((pilot) => marked(pilot, 'up')))
  const gone = (site: Site) => until('the queue is empty', async () => (await live(site)).length === 0)
  const removeAll = async (site: Site) => {
    await site.remove(await live(site), { unlessRunning: false, signal: signal() })
    await gone(site)
  }

  describe(`a site of kind ${name}`, { concurrency: false }, () => {
    test('runs a worker for each pilot and lists its job under the pilot', async () => {
      const site = harness().open(factory('a'))
      const submission = await prepareSome(site, 3)
      const submitted = await site.submit(submission, signal())
      assert.deepEqual(
        submitted.map(({ pilot }) => pilot),
        submission.pilots,
      )
      await allUp(submission)
      const jobs = await live(site)
      assert.deepEqual(names(jobs), submission.pilots.toSorted())
      assert.deepEqual(new Set(jobs.map(({ state }) => state)), new Set(['running']))
      assert.deepEqual(
        new Map(jobs.map(({ pilot, jobId }) => [pilot, jobId])),
        new Map(submitted.map(({ pilot, jobId }) => [pilot, jobId])),
      )
      await removeAll(site)
    })

    test('lists after a restart what was submitted before, and no jobs of other users', async () => {
      const before = harness().open(factory('b'))
      const submission = await prepareSome(before, 2)
      await before.submit(submission, signal())
      await allUp(submission)
      const after = harness().open(factory('b'))
      assert.deepEqual(names(await live(after)), submission.pilots.toSorted())
      if (name !== 'local') assert.deepEqual(await live(harness().open(factory('c'))), [])
      await removeAll(after)
    })

    test('tells a worker to leave before it ends it, and keeps the pilot’s log', async () => {
      const site = harness().open(factory('d'))
      const submission = await prepareSome(site, 2)
      await site.submit(submission, signal())
      await allUp(submission)
      await removeAll(site)
      for (const pilot of submission.pilots) {
        await until(`${pilot} was told`, () => marked(pilot, 'left'))
        const log = () =>
          existsSync(pilotLog(submission, pilot)) && readFileSync(pilotLog(submission, pilot), 'utf8')
        if (name !== 'htcondor') assert.match(log() || '', new RegExp(`${pilot} was told to leave`))
      }
    })

    test('spares a job that runs when only waiting ones are to be removed', async () => {
      const site = harness().open(factory('e'))
      const submission = await prepareSome(site, 1)
      await site.submit(submission, signal())
      await allUp(submission)
      await site.remove(await live(site), { unlessRunning: true, signal: signal() })
      assert.equal((await live(site))[0]?.state, 'running')
      assert.equal(marked(submission.pilots[0]!, 'left'), false)
      await removeAll(site)
    })

    test('does not mind removing what is gone', async () => {
      const site = harness().open(factory('f'))
      const submission = await prepareSome(site, 1)
      await site.submit(submission, signal())
      await allUp(submission)
      const jobs = await live(site)
      await removeAll(site)
      await site.remove(jobs, { unlessRunning: false, signal: signal() })
    })

    test('says whether the batch system would take a submission, and submits nothing', async () => {
      const site = harness().open(factory('k'))
      const answer = await site.check(await prepareSome(site, 1), signal())
      assert.ok(answer.accepted, answer.said)
      if (name !== 'local') {
        const bad = harness().refused(factory('k'))
        assert.equal((await bad.check(await prepareSome(bad, 1), signal())).accepted, false)
      }
      assert.deepEqual(await live(site), [])
    })

    test('says so when the batch system takes nothing', async () => {
      const site = harness().refused(factory('g'))
      const submission = await prepareSome(site, 1)
      await assert.rejects(site.submit(submission, signal()), SubmitRefused)
      assert.deepEqual(await live(site), [])
    })

    test('lists and removes jobs that wait, with the reason', async (t) => {
      const open = harness().neverStarts
      if (!open) return t.diagnostic('its jobs never wait')
      const site = open(factory('h'))
      const submission = await prepareSome(site, 2)
      await site.submit(submission, signal())
      const jobs = await until('both wait, and it is known why', async () => {
        const waiting = (await live(site)).filter(({ state }) => state === 'pending')
        return waiting.length === 2 && waiting.some(({ reason }) => reason) ? waiting : undefined
      })
      await site.remove(jobs, { unlessRunning: true, signal: signal() })
      await gone(site)
    })

    test('is not deceived by what another user submits under its names', async (t) => {
      const { imitate, neverStarts } = harness()
      if (!imitate || !neverStarts) return t.diagnostic('it has no other users')
      const site = neverStarts(factory('j'))
      const submission = await prepareSome(site, 2)
      const submitted = await site.submit(submission, signal())
      using _theirs = imitate(factory('j'), submission)
      const jobs = await live(site)
      assert.deepEqual(
        jobs.map(({ jobId, pilot }) => ({ pilot, jobId })).toSorted((a, b) => a.pilot.localeCompare(b.pilot)),
        submitted,
      )
      await removeAll(site)
    })

    test('lists jobs that are held, with the reason', async (t) => {
      const { hold, neverStarts } = harness()
      if (!hold || !neverStarts) return t.diagnostic('its jobs cannot be held')
      const site = neverStarts(factory('i'))
      const submission = await prepareSome(site, 1)
      const [job] = await site.submit(submission, signal())
      hold(job!.jobId)
      const held = await until('it is held', async () =>
        (await live(site)).find(({ state }) => state === 'held'),
      )
      assert.ok(held.reason)
      await removeAll(site)
    })
  })
}
