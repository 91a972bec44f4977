import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** What became of a request: the status it was answered with, or that the connection ended without an answer, or nothing. */
export type Fate = number | 'closed' | 'hung'

/** An answer, or the end of the connection, must come within this, milliseconds. */
const HUNG_MS = 60_000

/**
 * A connection on which bytes of any kind can be sent. It is kept for the next request while the other side keeps it.
 */
export class Wire implements Disposable {
  readonly #port: number
  #socket: Socket | undefined
  #received = Buffer.alloc(0)

  constructor(port: number) {
    this.#port = port
  }

  /**
   * Sends a request and waits for what becomes of it.
   * @param half ends the sending side behind it, as a client does whose process was killed midway
   */
  async send(bytes: Buffer, half = false): Promise<Fate> {
    const kept = this.#socket
    const fate = await this.#sendOnce(bytes, half)
    // A connection that was kept may have been about to be closed because of what came before.
    return fate === 'closed' && kept ? this.#sendOnce(bytes, half) : fate
  }

  async #sendOnce(bytes: Buffer, half: boolean): Promise<Fate> {
    const socket = await this.#open()
    const answer = this.#answer(socket)
    if (half) socket.end(bytes)
    else socket.write(bytes)
    const fate = await answer
    if (half || typeof fate !== 'number') this[Symbol.dispose]()
    return fate
  }

  async #open(): Promise<Socket> {
    if (this.#socket?.writable && !this.#socket.readableEnded) return this.#socket
    this[Symbol.dispose]()
    this.#received = Buffer.alloc(0)
    const socket = connect(this.#port, '127.0.0.1').setNoDelay(true)
    // What it was closed for is told by what came before.
    socket.on('error', () => {})
    this.#socket = socket
    await once(socket, 'connect')
    return socket
  }

  #answer(socket: Socket): Promise<Fate> {
    return new Promise((resolve) => {
      const end = (fate: Fate) => {
        clearTimeout(timer)
        socket.off('data', onData).off('close', onClose)
        resolve(fate)
      }
      const onData = (chunk: Buffer) => {
        this.#received = Buffer.concat([this.#received, chunk])
        const status = this.#takeAnswer()
        if (status !== undefined) end(status)
      }
      const onClose = () => end('closed')
      const timer = setTimeout(() => end('hung'), HUNG_MS)
      socket.on('data', onData).on('close', onClose)
    })
  }

  /** Takes a whole answer off what was received; those with status 100 are not answers yet. */
  #takeAnswer(): number | undefined {
    const end = this.#received.indexOf('\r\n\r\n')
    if (end < 0) return undefined
    const head = this.#received.toString('latin1', 0, end)
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1])
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    const hasBody = this.#received.length >= end + 4 + length
    if (!hasBody) return undefined
    this.#received = this.#received.subarray(end + 4 + length)
    if (/\r\nconnection: close/i.test(head)) this[Symbol.dispose]()
    return status === 100 ? this.#takeAnswer() : status
  }

  [Symbol.dispose](): void {
    this.#socket?.destroy()
    this.#socket = undefined
  }
}
