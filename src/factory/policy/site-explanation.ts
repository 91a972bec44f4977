import { count, duration, plural } from '../../common/plain/quantity-text.ts'
import type { Bound } from '../../core/pilot-scaling.ts'
import type { Reason, SiteExplanation } from '../../protocol/explanation.ts'
import type { SiteStatus } from '../../protocol/status.ts'
import type { SiteProblem } from './site-problems.ts'
import { type SiteSnapshot, siteStatus } from './site-status.ts'

/** Why a site has the pilots it has, and no more: what was decided last, and what the batch system says. */
export function explainSite(site: SiteSnapshot): SiteExplanation {
  const status = siteStatus(site)
  const reasons = [
    ...site.problems.map((problem) => problemReasons[problem.of](sentence(problem.text), site.config.name)),
    site.decision.submit > 0 ? submitting(site) : boundReasons[site.decision.bound](site, status),
    ...waiting(status),
    ...held(site, status),
    ...health(site),
    ...(status.warnings ?? []).map((text): Reason => ({ code: 'warning', text: sentence(text) })),
    ...avoided(site),
  ]
  return { site: status.name, summary: summaryOf(status), reasons }
}

function summaryOf({ name, kind, wanted, running, pending, held }: SiteStatus): string {
  const have = [`${count(running)} running`, `${count(pending)} waiting in the queue`, `${count(held)} held`]
  return `site ${name} (${kind}) wants ${plural(wanted, 'pilot')} and has ${have.join(', ')}`
}

/** What each bound of a decision is in a sentence. */
const boundReasons: Record<Bound, (site: SiteSnapshot, status: SiteStatus) => Reason> = {
  order: ({ order, config: { name } }) => ({
    code: order === 'drain' ? 'drained' : 'paused',
    text:
      order === 'drain'
        ? 'A user has told it to drain: it submits nothing, waiting pilots are removed, running ones leave when they have finished what they have in hand.'
        : 'A user has paused it: it submits nothing, and leaves the pilots that are there alone.',
    advice: `"factory sites resume ${name}" has it go on`,
  }),
  'no-work': () => ({ code: 'no-work', text: 'There is no work: no task waits for a worker or runs.' }),
  policy: ({ config, demand, decision: { wanted } }) => ({
    code: 'as-wanted',
    text: {
      fixed: `It has all the pilots that its policy wants: fixed, ${plural(config.count, 'pilot')}.`,
      demand:
        demand.ratePerPilot > 0
          ? `Its policy "demand" wants ${plural(wanted, 'pilot')}: they finish the ${plural(demand.queued + demand.leased, 'task')} there are within ${duration(config.finishWithin * 1000)}, by the measured speed of pilots.`
          : `Its policy "demand" wants ${plural(wanted, 'pilot')} until it is known how fast pilots are.`,
      opportunistic: `Its policy "opportunistic" keeps ${plural(config.pending, 'pilot')} waiting in the queue, which is as many as there are; more follow when these start.`,
    }[config.policy],
    advice: {
      fixed: `a larger sites.${config.name}.count wants more`,
      demand: `a shorter sites.${config.name}.finishWithin, or a larger min, wants more`,
      opportunistic: `a larger sites.${config.name}.pending keeps more in the queue`,
    }[config.policy],
  }),
  max: ({ config, pilots }) => {
    const leaving = pilots.filter(({ state }) => state === 'ending').length
    const also =
      leaving > 0
        ? `, ${plural(leaving, 'pilot')} among them that ${leaving === 1 ? 'is' : 'are'} leaving`
        : ''
    return {
      code: 'at-maximum',
      text: `It is at its maximum of ${plural(config.max, 'pilot')}${also}.`,
      advice: `a larger sites.${config.name}.max allows more`,
    }
  },
  'on-the-way': ({ demand }) => ({
    code: 'enough-on-the-way',
    text:
      demand.queued === 0
        ? 'No task waits for a worker: all that are left are in the hands of workers.'
        : `The pilots on their way are enough for the ${plural(demand.queued, 'task')} that wait${demand.queued === 1 ? 's' : ''} for a worker.`,
  }),
  pause: ({ decision: { paused }, now, config: { name } }) => ({
    code: 'backing-off',
    text: `It pauses for another ${duration(Math.max(0, (paused?.until ?? now) - now))}, because what it submitted last was of no use: ${sentence(paused?.reason ?? '')}`,
    advice: `mend that; "factory doctor ${name}" looks for causes. It tries again by itself`,
  }),
  trial: () => ({
    code: 'on-trial',
    text: 'After a failure it tries one pilot first, and submits more once that one has proved useful.',
  }),
  'submit-size': (site) => submitting(site),
}

/** It has fewer than it wants for a moment only. */
function submitting({ config, decision }: SiteSnapshot): Reason {
  const text = `It submits ${plural(decision.submit, 'pilot')} now or soon: at most ${count(config.submitSize)} at once, and ${plural(config.submitRate, 'submission')} a minute.`
  return { code: 'submitting', text }
}

/** What each problem is in sentences. */
const problemReasons: Record<SiteProblem['of'], (told: string, site: string) => Reason> = {
  login: (told, site) => ({
    code: 'login',
    text: `The submit node lets the factory in only after a person has logged in, and nothing is submitted until then: ${told}`,
    advice: `"factory login ${site}" logs in`,
  }),
  'batch-system': (told, site) => ({
    code: 'batch-system',
    text: `The batch system does not answer as it should, and nothing is submitted until it does: ${told}`,
    advice: `"factory doctor ${site}" looks for causes`,
  }),
  relay: (told) => ({
    code: 'relay',
    text: `Pilots do not reach the manager, and nothing is submitted until they do: ${told}`,
    advice: 'a relay that broke is started again by itself; factory.log in the state folder says more',
  }),
}

/** Where a batch system says more of what waits. */
const ASK_MORE = {
  slurm: '"squeue --me --start" says when they may start',
  htcondor: '"condor_q -better-analyze" says more',
  pbs: '"qstat -T" says when they may start, "qstat -f ID" why not yet',
}

/** Why pilots wait or are held, in the batch system's words, or run and are silent. */
function waiting({ name, kind, reasons }: SiteStatus): Reason[] {
  return reasons.map(({ reason, pilots, state }) => {
    const [is, waits] = pilots === 1 ? ['is', 'waits'] : ['are', 'wait']
    const does = {
      pending: `${waits}; the batch system says: `,
      held: `${is} held; the batch system says: `,
      running: `${is} `,
    }[state]
    return {
      code: state === 'running' ? 'not-registered' : 'in-queue',
      text: `${plural(pilots, 'pilot')} at ${name} ${does}${sentence(reason)}`,
      ...(kind !== 'local' && state === 'pending' && { advice: ASK_MORE[kind] }),
    }
  })
}

/** How a person lets a held pilot go on, or removes it. */
const RELEASE = {
  slurm: '"scontrol release ID" lets it go on, "scancel ID" removes it',
  htcondor: '"condor_release ID" lets it go on, "condor_rm ID" removes it',
  pbs: '"qrls ID" lets it go on, "qdel ID" removes it',
}

/** What has to be done about pilots that the batch system holds. */
function held({ config: { removeHeldAfter, max } }: SiteSnapshot, { kind, held }: SiteStatus): Reason[] {
  if (held === 0 || kind === 'local') return []
  const until =
    removeHeldAfter === undefined ? '' : `, or the factory does so after ${duration(removeHeldAfter * 1000)}`
  const text = `${plural(held, 'pilot')} ${held === 1 ? 'is' : 'are'} held, and counted among the ${count(max)} that there may be, until a person releases or removes ${held === 1 ? 'it' : 'them'}${until}.`
  return [
    {
      code: 'held',
      text,
      advice: `once its cause is mended, ${RELEASE[kind]}; "factory pilots" has the ids`,
    },
  ]
}

/** What went wrong last, where that is not told already. */
function health({ decision, health: { failures, reason }, order }: SiteSnapshot): Reason[] {
  if (failures === 0 || (decision.bound === 'pause' && order === 'work')) return []
  return [{ code: 'last-failure', text: `The last pilot or submission was of no use: ${sentence(reason)}` }]
}

function avoided({ avoidNodes }: SiteSnapshot): Reason[] {
  if (avoidNodes.length === 0) return []
  const text = `Nodes where everything fails that works elsewhere are avoided for an hour: ${avoidNodes.join(', ')}.`
  return [{ code: 'avoided-nodes', text }]
}

/** With a full stop, if it has no end yet. */
const sentence = (text: string) => (/[.!?]\s*$/.test(text) ? text.trim() : `${text.trim()}.`)
