import { AsyncLocalStorage } from 'node:async_hooks'
import { limits } from '../../protocol/primitives.ts'

/** What was printed while some calls ran; absent if nothing was. */
export interface CapturedOutput {
  text?: string
}

const current = new AsyncLocalStorage<CapturedOutput>()

/** Runs code whose output, and that of all it starts, belongs to `printed`. */
export function captureOutput<T>(output: CapturedOutput, run: () => T): T {
  return current.run(output, run)
}

/** From here on, what is written to standard output and standard error is also noted for the calls that wrote it. */
export function watchOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
    stream.write = (chunk: Uint8Array | string, ...rest: unknown[]) => {
      const output = current.getStore()
      if (output) appendOutput(output, typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString())
      return write(chunk, ...rest)
    }
  }
}

/** Adds to what was printed. No more is kept than could be asked for. */
export function appendOutput(output: CapturedOutput, text: string): void {
  const all = (output.text ?? '') + text
  output.text = all.length > 2 * limits.log ? all.slice(-limits.log) : all
}

/** The end of what was printed, at most `max` characters, as a field of an outcome. */
export function logOf({ text }: CapturedOutput, max: number = limits.log): { log?: string } {
  if (text === undefined || text === '') return {}
  // Half a character may be left at the cut.
  return { log: text.slice(-max).toWellFormed() }
}

/** What each call of a batch may show of what the batch has printed: together not much more than a call alone. */
export function shareOf(calls: number): number {
  return Math.max(1024, Math.ceil(limits.log / calls))
}
