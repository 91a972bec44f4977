import { Timeline } from '../../../scripts/simulation/virtual-clock.ts'
import { bitmap, has } from '../../../src/bundle/format/bitmap.ts'
import { isHaveDue, HAVE_INTERVAL_MS } from '../../../src/bundle/upload/have-broadcast.ts'
import {
  chooseRequests,
  defaultTuning,
  requestBegins,
  requestBrings,
  requestEnds,
  newSwarm,
  pieceArrives,
  sourceHas,
  sourceJoins,
  sourceWithholds,
} from '../../../src/bundle/policy/piece-picker.ts'
import type { NewRequest, RunRequest, Swarm, Tuning } from '../../../src/bundle/policy/piece-picker.ts'
import { createPeerTable, noteHolder, peersFor } from '../../../src/core/peer-selection.ts'
import { createSuperSeeding } from '../../../src/bundle/policy/super-seeding.ts'

/*
 * A cluster that fetches one bundle, simulated: the production code decides, links are fluid with equal shares, news of
 * pieces take a while. Times in milliseconds, sizes in bytes.
 */

const BUNDLE = 'b'

export type SimOptions = {
  workers: number
  pieces: number
  pieceSize: number
  /** Bytes per millisecond, of each node's link, each way. */
  rate: number
  /** From one end to the other, for a request. */
  latencyMs: number
  seed: number
  tuning?: Partial<Tuning>
  /** What a peer sends at once, and how long one takes that counts. */
  uploadsAtOnce?: number
  patienceMs?: number
  /** The same of the manager. */
  spreadingAtOnce?: number
  deliveryMs?: number
  /** When worker i begins. */
  startAt?: (worker: number) => number
}

export type SimResult = {
  /** When the last worker had it all, and each. */
  allMs: number
  doneMs: number[]
  managerBytes: number
  peerBytes: number
  repeats: number
  frames: number
}

/** A small generator of chance (mulberry32), the same for the same seed. */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

type Transfer = { from: number; to: number; left: number; rate: number; done: () => void }
type Request = { ask: NewRequest; runRequest: RunRequest; by: number }

export function simulate(options: SimOptions): SimResult {
  const { workers, pieces, pieceSize, rate, latencyMs, seed } = options
  const { uploadsAtOnce = 4, patienceMs = 20, startAt = () => 0 } = options
  const { spreadingAtOnce = 12, deliveryMs = 1000 } = options
  const chance = chanceOf(seed)
  const manager = workers
  const tuning = { ...defaultTuning, ...options.tuning }
  const swarms: (Swarm | undefined)[] = Array.from({ length: workers }, () => undefined)
  const heldBy = Array.from({ length: workers }, () => bitmap(pieces))
  const heldCount = new Array<number>(workers).fill(0)
  const followers: number[][] = Array.from({ length: workers }, () => [])
  const queues: Request[][] = Array.from({ length: workers + 1 }, () => [])
  const fresh = new Array<number>(workers + 1).fill(0)
  const superSeeding = createSuperSeeding(pieces)
  const transfers = new Set<Transfer>()
  const doneMs = new Array<number>(workers).fill(Infinity)
  let managerBytes = 0
  let peerBytes = 0
  let repeats = 0
  let frames = 0
  const news = Array.from({ length: workers }, () => [] as number[])
  let finished = 0

  const timeline = new Timeline()
  const peerTable = createPeerTable()
  for (let worker = 0; worker < workers; worker++) noteHolder(peerTable, String(worker), BUNDLE)

  /** Max-min fair shares: what one link leaves of a transfer's share, the others on its links get. */
  const share = () => {
    const capacity = new Float64Array(2 * (workers + 1)).fill(rate)
    const users = new Int32Array(2 * (workers + 1))
    const open = new Set(transfers)
    for (const { from, to } of open) {
      users[2 * from]!++
      users[2 * to + 1]!++
    }
    while (open.size > 0) {
      let tightest = -1
      let least = Infinity
      for (let link = 0; link < users.length; link++) {
        if (users[link]! > 0 && capacity[link]! / users[link]! < least) {
          least = capacity[link]! / users[link]!
          tightest = link
        }
      }
      for (const transfer of open) {
        const links = [2 * transfer.from, 2 * transfer.to + 1]
        if (!links.includes(tightest)) continue
        transfer.rate = least
        open.delete(transfer)
        for (const link of links) {
          users[link]!--
          capacity[link]! -= least
        }
      }
    }
  }
  const progress = (until: number) => {
    for (const transfer of transfers) transfer.left -= transfer.rate * (until - timeline.now)
    timeline.now = until
  }
  const nextEnd = () => {
    let first: Transfer | undefined
    let when = Infinity
    for (const transfer of transfers) {
      const end = timeline.now + Math.max(0, transfer.left) / transfer.rate
      if (end < when) [first, when] = [transfer, end]
    }
    return { first, when }
  }

  const pump = (worker: number) => {
    const swarm = swarms[worker]
    if (!swarm || heldCount[worker] === pieces) return
    for (
      let ask = chooseRequests(swarm, timeline.now, chance);
      ask;
      ask = chooseRequests(swarm, timeline.now, chance)
    ) {
      const runRequest = requestBegins(swarm, ask, timeline.now)
      if (ask.kind === 'run' && swarm.requests[ask.first]! > 1) repeats++
      const request = { ask, runRequest, by: worker }
      const server = ask.source === 'manager' ? manager : Number(ask.source)
      timeline.after(latencyMs, () => {
        queues[server]!.push(request)
        serve(server)
      })
    }
  }

  const serve = (server: number) => {
    const [atOnce, ageMs] = server === manager ? [spreadingAtOnce, deliveryMs] : [uploadsAtOnce, patienceMs]
    while (fresh[server]! < atOnce && queues[server]!.length > 0) {
      const { ask, runRequest, by } = queues[server]!.shift()!
      const swarm = swarms[by]!
      let run: { first: number; count: number } | undefined = ask.kind === 'run' ? ask : undefined
      if (ask.kind === 'any') {
        run = superSeeding.choose(
          (piece) => has(ask.want, piece),
          timeline.now,
          (_, count) => count * pieceSize <= ask.bytes,
        )
      }
      if (!run) {
        timeline.after(latencyMs, () => {
          sourceWithholds(swarm, 'manager', timeline.now + 150 * (1 + chance()))
          requestEnds(swarm, runRequest)
          pump(by)
        })
        continue
      }
      const { first, count } = run
      if (server === manager) superSeeding.sent(first, count, timeline.now)
      if (ask.kind === 'any') requestBrings(swarm, runRequest, first, count)
      fresh[server]!++
      let young = true
      const age = () => {
        if (young) fresh[server]!--
        young = false
        serve(server)
      }
      timeline.after(ageMs, age)
      const bytes = count * pieceSize
      const since = runRequest.since
      transfers.add({
        from: server,
        to: by,
        left: bytes,
        rate: 0,
        done: () => {
          if (server === manager) managerBytes += bytes
          else peerBytes += bytes
          requestEnds(swarm, runRequest, { bytes, ms: timeline.now - since })
          for (let piece = first; piece < first + count; piece++) arrive(by, piece)
          age()
          pump(by)
        },
      })
      share()
    }
  }

  const arrive = (worker: number, piece: number) => {
    if (has(heldBy[worker]!, piece)) return
    heldBy[worker]![piece >> 3]! |= 1 << (piece & 7)
    pieceArrives(swarms[worker]!, piece)
    heldCount[worker]!++
    if (heldCount[worker] === pieces) {
      doneMs[worker] = timeline.now
      finished++
    }
    news[worker]!.push(piece)
    const tell = () => {
      const told = news[worker]!.splice(0)
      if (told.length === 0) return
      frames++
      timeline.after(latencyMs, () => {
        for (const follower of followers[worker]!) {
          for (const each of told) sourceHas(swarms[follower]!, String(worker), each)
          pump(follower)
        }
      })
    }
    if (isHaveDue(news[worker]!.length, heldCount[worker]!, pieces)) tell()
    else if (news[worker]!.length === 1) timeline.after(HAVE_INTERVAL_MS, tell)
  }

  for (let worker = 0; worker < workers; worker++) {
    timeline.after(startAt(worker), () => {
      const swarm = newSwarm(bitmap(pieces), pieces, () => pieceSize, tuning)
      swarms[worker] = swarm
      sourceJoins(swarm, 'manager', 'manager')
      const named = peersFor(peerTable, String(worker), BUNDLE, new Set(), chance)
      for (const name of named) {
        const other = Number(name)
        sourceJoins(swarm, name, 'peer')
        timeline.after(2 + chance() * 3, () => {
          followers[other]!.push(worker)
          for (let piece = 0; piece < pieces; piece++) {
            if (has(heldBy[other]!, piece)) sourceHas(swarm, String(other), piece)
          }
          pump(worker)
        })
      }
      const tick = () => {
        if (heldCount[worker] === pieces) return
        pump(worker)
        timeline.after(50, tick)
      }
      tick()
    })
  }

  while (finished < workers) {
    const { first, when } = nextEnd()
    const next = timeline.nextAt
    if (first && when <= next) {
      progress(when)
      transfers.delete(first)
      first.done()
      share()
    } else {
      progress(next)
      if (!timeline.step()) throw new Error('the simulation is stuck')
    }
  }
  return { allMs: Math.max(...doneMs), doneMs, managerBytes, peerBytes, repeats, frames: frames / workers }
}
