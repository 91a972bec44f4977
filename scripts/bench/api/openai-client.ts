import { setTimeout as sleep } from 'node:timers/promises'
import { FormData, Pool } from 'undici'

/** A client of the OpenAI API with little of its own to be measured along. */
export class Api implements AsyncDisposable {
  readonly #pool: Pool
  readonly #token: string

  constructor({ url, token }: { url: string; token: string }, connections: number) {
    this.#pool = new Pool(url, { connections, headersTimeout: 0, bodyTimeout: 0 })
    this.#token = token
  }

  /** One request with a JSON answer. @throws if it is refused */
  async ask(path: string, body?: object): Promise<Record<string, unknown>> {
    const response = await this.#send(path, body && JSON.stringify(body), 'application/json')
    const text = await response.body.text()
    if (response.statusCode !== 200)
      throw new Error(`${path} was answered with ${response.statusCode}: ${text}`)
    return JSON.parse(text) as Record<string, unknown>
  }

  /** How long the first event of a stream took that shows text, milliseconds. */
  async firstEvent(path: string, body: object): Promise<number> {
    const startedAt = performance.now()
    const response = await this.#send(path, JSON.stringify({ ...body, stream: true }), 'application/json')
    let first: number | undefined
    for await (const _chunk of response.body) first ??= performance.now() - startedAt
    return first!
  }

  /** Runs a batch to its end, output file included. */
  async batch(lines: readonly object[]): Promise<void> {
    const form = new FormData()
    form.set('purpose', 'batch')
    form.set('file', new Blob(lines.map((line) => `${JSON.stringify(line)}\n`)), 'in.jsonl')
    const response = await this.#pool.request({
      method: 'POST',
      path: '/v1/files',
      headers: { authorization: `Bearer ${this.#token}` },
      body: form,
    })
    const { id } = (await response.body.json()) as { id: string }
    const endpoint = '/v1/completions'
    const { id: batch } = await this.ask('/v1/batches', {
      input_file_id: id,
      endpoint,
      completion_window: '24h',
    })
    for (let state = ''; state !== 'completed'; await sleep(50)) {
      state = (await this.ask(`/v1/batches/${batch as string}`))['status'] as string
      if (['failed', 'expired', 'cancelled'].includes(state)) throw new Error(`the batch is ${state}`)
    }
  }

  #send(path: string, body: string | undefined, type: string) {
    return this.#pool.request({
      method: body === undefined ? 'GET' : 'POST',
      path,
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': type },
      body: body ?? null,
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool.close()
  }
}

/** Median and 99th percentile of times in milliseconds. */
export function quantiles(times: readonly number[]): { p50_ms: number; p99_ms: number } {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]! * 100) / 100
  return { p50_ms: at(0.5), p99_ms: at(0.99) }
}
