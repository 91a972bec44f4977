import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** What a process has in memory, bytes. */
export interface Memory {
  /** What JavaScript holds: objects, and buffers outside of the heap. */
  live: number
  /** What the operating system counts for the process: that, the program itself, and what SQLite and other native code hold. */
  rss: number
  /** The same before the garbage was collected. */
  rssWithGarbage: number
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as NodeJS.GCFunction

/** This process's memory without garbage. */
export function memoryInUse(): Memory {
  const rssWithGarbage = process.memoryUsage.rss()
  // As V8 does when memory runs out: until nothing more is freed, and the room that it keeps for new objects is given back.
  // How large that has become depends on what happened to be alive at some moments, and differs from run to run.
  collectGarbage({ type: 'major', flavor: 'last-resort', execution: 'sync' })
  // Buffers are among what is external.
  const { heapUsed, external, rss } = process.memoryUsage()
  return { live: heapUsed + external, rss, rssWithGarbage }
}
