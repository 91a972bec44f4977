import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** Time that processes have to end by themselves after SIGHUP, milliseconds. */
const GRACE_MS = 1_000

/** Ends all processes of a session: as a terminal that is closed ends them, and what stays nevertheless, by force. */
export async function endProcessSession(session: number): Promise<void> {
  const members = await membersOf(session)
  if (members.length === 0) return
  for (const signal of ['SIGHUP', 'SIGCONT'] as const) for (const pid of members) tell(pid, signal)
  const end = performance.now() + GRACE_MS
  while (performance.now() < end && (await membersOf(session)).length > 0) await sleep(20)
  for (const pid of await membersOf(session)) tell(pid, 'SIGKILL')
}

/** Processes of a session that run; proc(5): after the name in parentheses come the state, the parent, the group, the session. */
async function membersOf(session: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const isMember = async (pid: number): Promise<boolean> => {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
    const [state, , , own] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(own) === session && state !== 'Z'
  }
  const found = await Promise.all(pids.map(isMember))
  return pids.filter((_, index) => found[index])
}

function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Gone already.
  }
}
