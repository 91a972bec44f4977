import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A gate that processes on this machine wait at: a request of its address is answered while it is open. */
export class Gate implements AsyncDisposable {
  readonly #server = createServer((_request, response) => {
    this.#waiting.add(response)
    if (this.#isOpen) this.open()
  })
  readonly #waiting = new Set<ServerResponse>()
  #isOpen = false

  /** A gate that is shut. */
  static async create(): Promise<Gate> {
    const gate = new Gate()
    await once(gate.#server.listen(0, '127.0.0.1'), 'listening')
    return gate
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /**
   * Resolves when so many wait.
   * @throws if they have not come after a minute
   */
  async reached(count: number): Promise<void> {
    const signal = AbortSignal.timeout(60_000)
    while (this.#waiting.size < count) await once(this.#server, 'request', { signal })
  }

  open(): void {
    this.#isOpen = true
    for (const response of this.#waiting) response.end()
    this.#waiting.clear()
  }

  shut(): void {
    this.#isOpen = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
