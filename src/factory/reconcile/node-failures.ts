import { type NodeRecord, blackHoles } from '../../core/black-hole-nodes.ts'
import type { PilotRecord } from '../../core/interfaces/pilot-registry.ts'

/** A node's record is forgotten after this long, so that one that was repaired is tried again; milliseconds. */
export const FORGET_NODE_MS = 60 * 60_000

type Counted = { done: number; failed: number; stillborn: boolean }

/** What became of pilots and tasks on each node of a site, and which nodes to avoid for it. */
export function createNodeRecords() {
  const nodes = new Map<string, { since: number; pilots: Map<string, Counted>; condemned?: boolean }>()

  function entryOf(node: string, now: number) {
    const entry = nodes.get(node) ?? { since: now, pilots: new Map<string, Counted>() }
    nodes.set(node, entry)
    return entry
  }

  function note(node: string, pilot: string, counted: Counted, now: number) {
    entryOf(node, now).pilots.set(pilot, counted)
  }

  return {
    working(record: PilotRecord, now: number) {
      const { worker, blackHole } = record
      // The manager saw every task; what is counted here is only how things stood at each look.
      if (blackHole !== undefined) entryOf(blackHole, now).condemned = true
      if (!worker) return
      const counted = { done: worker.tasksDone, failed: worker.tasksFailed, stillborn: false }
      note(worker.node, record.pilot, counted, now)
    },

    stillborn(node: string, pilot: string, now: number) {
      note(node, pilot, { done: 0, failed: 0, stillborn: true }, now)
    },

    avoid(now: number): string[] {
      for (const [node, { since }] of nodes) if (now - since > FORGET_NODE_MS) nodes.delete(node)
      const suspects = blackHoles([...nodes].map(([node, { pilots }]) => summed(node, [...pilots.values()])))
      const condemned = [...nodes].filter(([, entry]) => entry.condemned).map(([node]) => node)
      return [...new Set([...condemned, ...suspects])]
    },
  }
}

function summed(node: string, pilots: Counted[]): NodeRecord {
  const stillborn = pilots.filter((pilot) => pilot.stillborn).length
  return {
    node,
    done: pilots.reduce((sum, pilot) => sum + pilot.done, 0),
    failed: pilots.reduce((sum, pilot) => sum + pilot.failed, 0),
    stillborn,
    registered: pilots.length - stillborn,
  }
}
