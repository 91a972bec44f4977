import type { ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { killGroup, type ProcessOptions, spawnLibrary } from './library-process.ts'

/**
 * The process of a library that starts before there is anything to load: while a worker's first context comes, its slots have
 * time to spare, and a library that only has to be told what to load is ready that much sooner.
 */
export interface PrestartedProcess {
  /** Its folder, which is made with it. */
  readonly folder: string
  /** The process, for the first who asks; undefined if it has ended meanwhile. */
  take(): ChildProcess | undefined
  /** Ends it if it was not taken. */
  close(): void
}

export function prestartProcess(options: ProcessOptions): PrestartedProcess {
  const { folder } = options
  mkdirSync(folder, { recursive: true })
  let child: ChildProcess | undefined = spawnLibrary(options)
  const lose = () => (child = undefined)
  child.once('exit', lose)
  child.once('error', lose)
  return {
    folder,
    take() {
      const taken = child
      child = undefined
      return taken
    },
    close() {
      if (child) killGroup(child)
      child = undefined
    },
  }
}
