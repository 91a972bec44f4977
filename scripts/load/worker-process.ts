import { simulateWorker } from './worker.ts'

/* Simulated workers in a process of their own, so that their work is not taken for the manager's. */

export interface ToCrew {
  url: string
  tokens: string[]
  taskMs: number
}

/** What happened since the last message. */
export interface FromCrew {
  /** How long exchanges took that the manager could answer at once, milliseconds. */
  latencies: number[]
  retries: number
}

const REPORT_MS = 1_000
/** Workers come one after the other, as a batch system starts them: so many in a second. */
const STARTS_PER_S = 400

process.once('message', ({ url, tokens, taskMs }: ToCrew) => {
  const over = new AbortController()
  let latencies: number[] = []
  let retries = 0
  const timer = setInterval(() => {
    // The listener may be gone: that is the end of the test, and no error.
    process.send!({ latencies, retries } satisfies FromCrew, () => {})
    latencies = []
    retries = 0
  }, REPORT_MS)
  const start = async (token: string, i: number) => {
    await new Promise((resolve) => setTimeout(resolve, (i * 1000) / STARTS_PER_S))
    await simulateWorker({
      url,
      token,
      taskMs,
      onExchange: (ms) => latencies.push(ms),
      onRetry: () => retries++,
      signal: over.signal,
    })
  }
  process.once('disconnect', () => {
    clearInterval(timer)
    over.abort()
  })
  void Promise.all(tokens.map(start))
})
