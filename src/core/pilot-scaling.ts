/*
 * How many pilots a site should have, decided from what its queue shows, what there is to do, and how its last pilots
 * fared. Times are milliseconds by one clock.
 */

import type { SiteOrder } from '../protocol/status.ts'
import type { Demand } from './interfaces/pilot-registry.ts'

/** The part of a site's configuration that scaling goes by; see the factory's configuration for what each means. */
export type ScalingConfig = {
  policy: 'fixed' | 'demand' | 'opportunistic'
  count: number
  min: number
  max: number
  pending: number
  /** Seconds. */
  finishWithin: number
  linger: number
  removeHeldAfter?: number | undefined
  submitSize: number
}

/** One pilot, as the queue and the ledger together show it. */
export type PilotView = {
  pilot: string
  /** `submitting`: given to the batch system, but its queue does not show it yet. */
  state: 'submitting' | 'pending' | 'running' | 'held' | 'ending'
  /** Its worker has registered at some time. */
  registered: boolean
  /** Its worker is there and has no task. */
  idle: boolean
  /** Since when it is in this state, as far as is known. */
  since: number
}

export type ScalingInput = {
  config: ScalingConfig
  pilots: PilotView[]
  demand: Demand
  /** When there was last something to do. */
  lastWork: number
  health: Health
  /** What a user has told the site. */
  order: SiteOrder
  now: number
}

/**
 * What keeps a site from submitting more, the first that does: a user's order, that there is no work, that all pilots its
 * policy wants are there, its maximum, that the pilots on their way are enough for what is queued, the pause after a failure,
 * that one pilot is tried first after that, or the size of one submission.
 */
export type Bound = 'order' | 'no-work' | 'policy' | 'max' | 'on-the-way' | 'pause' | 'trial' | 'submit-size'

export type Decision = {
  /** How many pilots the policy would like to have, within the maximum. */
  wanted: number
  submit: number
  /** To be removed, but only if they still have not started. */
  remove: string[]
  /** Asked to finish and leave. */
  drain: string[]
  /** Why it does not submit more than that. */
  bound: Bound
  /** Why nothing is submitted that the policy would like to, and until when. */
  paused?: { reason: string; until: number }
}

/**
 * Decides for one site. It submits only what the queued work can occupy beside the pilots already on their way, never
 * beyond the maximum, and while the site is failing only one pilot at a time, to find out whether it works again.
 */
export function decide(input: ScalingInput): Decision {
  const { config, pilots, demand, health, order, now } = input
  const present = pilots.filter((pilot) => pilot.state !== 'ending')
  const onTheWay = present.filter((pilot) => !pilot.registered && pilot.state !== 'held').length
  const liked = pilotsByPolicy(config, present, demand)
  const wanted = Math.min(liked, config.max)
  const lacking = least([
    ['order', order === 'work' ? Infinity : 0],
    ['no-work', demand.queued + demand.leased === 0 ? 0 : Infinity],
    [liked <= config.max ? 'policy' : 'max', wanted - present.length],
    // Those that are leaving take up room until they are gone.
    ['max', config.max - pilots.length],
    ['on-the-way', demand.queued - onTheWay],
    ['submit-size', config.submitSize],
  ])
  const paused =
    lacking.most > 0 && now < health.until ? { reason: health.reason, until: health.until } : undefined
  const { most, bound } = least([
    [lacking.bound, lacking.most],
    ['pause', paused ? 0 : Infinity],
    ['trial', health.failures === 0 ? Infinity : 1 - onTheWay],
  ])
  const drains = order === 'drain'
  const remove = drains
    ? present.filter(({ state }) => state === 'pending' || state === 'held').map(({ pilot }) => pilot)
    : [...surplusPending(input, present), ...heldTooLong(input, present)]
  const tooMany = Math.max(0, present.length - remove.length - config.max)
  const idle = present.filter((pilot) => pilot.idle)
  const leave = drains ? present.filter(({ registered }) => registered) : idle.slice(0, tooMany)
  return {
    wanted,
    submit: Math.max(0, most),
    bound,
    remove,
    drain: leave.map(({ pilot }) => pilot),
    ...(paused && { paused }),
  }
}

/** The smallest of these numbers; and the first that lets nothing through, or else the first that is as small. */
function least(bounds: [Bound, number][]): { bound: Bound; most: number } {
  const [smallest, most] = bounds.reduce((found, each) => (each[1] < found[1] ? each : found))
  const [bound] = bounds.find(([, each]) => each <= 0) ?? [smallest]
  return { bound, most }
}

function pilotsByPolicy(config: ScalingConfig, present: PilotView[], demand: Demand): number {
  const work = demand.queued + demand.leased
  if (work === 0) return 0
  const waiting = present.filter(({ state }) => state === 'pending' || state === 'submitting').length
  return {
    fixed: config.count,
    demand: Math.max(config.min, pilotsFor(work, demand.ratePerPilot, config.finishWithin)),
    opportunistic: present.length - waiting + config.pending,
  }[config.policy]
}

/** Pilots that do this work in time. One, while it is not known how fast they are. */
function pilotsFor(work: number, ratePerPilot: number, seconds: number): number {
  if (ratePerPilot <= 0) return 1
  return Math.min(work, Math.ceil(work / (ratePerPilot * Math.max(seconds, 1))))
}

/** Pilots to take out of the queue: all when there was nothing to do for a while, else those above the maximum. */
function surplusPending({ config, demand, lastWork, now }: ScalingInput, present: PilotView[]): string[] {
  const newestFirst = present.filter(({ state }) => state === 'pending').toReversed()
  const forgotten = demand.queued + demand.leased === 0 && now - lastWork >= config.linger * 1000
  const surplus = forgotten ? newestFirst.length : Math.max(0, present.length - config.max)
  return newestFirst.slice(0, surplus).map(({ pilot }) => pilot)
}

function heldTooLong({ config, now }: ScalingInput, present: PilotView[]): string[] {
  const limit = config.removeHeldAfter
  if (limit === undefined) return []
  return present
    .filter(({ state, since }) => state === 'held' && now - since >= limit * 1000)
    .map(({ pilot }) => pilot)
}

/** How a site's latest pilots and submissions fared. */
export type Health = {
  /** Failures in a row, none of them known before the next one was submitted. */
  failures: number
  /** When the last one that counted was seen. */
  failedAt: number
  /** Nothing is submitted before this. */
  until: number
  /** What went wrong, for the user. */
  reason: string
}

export const HEALTHY: Health = { failures: 0, failedAt: 0, until: 0, reason: '' }

/** First pause after a failure, and the longest, milliseconds. */
export const PAUSE_FIRST = 5_000
export const PAUSE_LONGEST = 15 * 60_000

/**
 * A pilot ended before it was of any use, or a submission was refused. Pilots submitted together fail together: those
 * submitted before the last failure was seen tell nothing new, and do not lengthen the pause.
 */
export function failed(
  health: Health,
  failure: { submittedAt: number; reason: string },
  now: number,
): Health {
  if (health.failures > 0 && failure.submittedAt <= health.failedAt)
    return { ...health, reason: failure.reason }
  const failures = health.failures + 1
  const pause = Math.min(PAUSE_LONGEST, PAUSE_FIRST * 2 ** Math.min(failures - 1, 20))
  return { failures, failedAt: now, until: now + pause, reason: failure.reason }
}

/** A pilot proved useful. If it came up after the last failure, the site is well again. */
export function succeeded(health: Health, pilot: { registeredAt: number }): Health {
  return pilot.registeredAt > health.failedAt ? HEALTHY : health
}
