/*
 * A black hole is a node that fails whatever it is given, and so fast that it is given everything. It shows by the
 * contrast: other nodes manage the same work. Where all nodes fail, the work or the site is at fault, and no node is.
 */

/** What came of tasks and pilots on one node lately. */
export type NodeRecord = {
  node: string
  done: number
  failed: number
  /** Pilots that ended here before their worker registered, and those that registered. */
  stillborn: number
  registered: number
}

/** Fewest failed tasks, and fewest stillborn pilots, that make a node suspicious. */
export const FAILED_TASKS = 20
export const FAILED_PILOTS = 3

/** Nodes where nearly everything fails while it mostly works elsewhere. */
export function blackHoles(records: readonly NodeRecord[]): string[] {
  return records.filter((record) => isBlackHole(record, records)).map(({ node }) => node)
}

function isBlackHole(record: NodeRecord, all: readonly NodeRecord[]): boolean {
  const others = all.filter((other) => other !== record)
  const sum = (key: 'done' | 'failed' | 'stillborn' | 'registered') =>
    others.reduce((total, other) => total + other[key], 0)
  const failsTasks =
    record.failed >= FAILED_TASKS && record.failed > 9 * record.done && sum('done') > sum('failed')
  const killsPilots =
    record.stillborn >= FAILED_PILOTS && record.registered === 0 && sum('registered') > sum('stillborn')
  return failsTasks || killsPilots
}
