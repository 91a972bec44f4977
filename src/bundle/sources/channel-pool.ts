import type { ChannelRequest, PieceChannel } from './piece-channel.ts'
import { SourceError } from './piece-source.ts'
import { blame } from './source-failure.ts'

/** The channels to one source: each carries one request at a time, and stays open for the next one. */
export class ChannelPool {
  readonly #open: (signal: AbortSignal) => Promise<PieceChannel>
  readonly #channels = new Set<PieceChannel>()

  constructor(open: (signal: AbortSignal) => Promise<PieceChannel>) {
    this.#open = open
  }

  /** Asks over a channel that is open; over a new one, if that is being closed or its ticket has become too old. */
  async ask(make: () => ChannelRequest): Promise<void> {
    const idle = this.#takeIdle()
    if (idle) {
      const request = make()
      try {
        return await idle.request(request)
      } catch (error) {
        const why = blame(error)
        const mayBeStale = why instanceof SourceError && ['reset', 'refused'].includes(why.reason)
        if (!mayBeStale || request.isAnswered() || request.signal.aborted) throw error
      }
    }
    const request = make()
    const channel = await this.#open(request.signal)
    this.#channels.add(channel)
    await channel.request(request)
  }

  #takeIdle(): PieceChannel | undefined {
    for (const channel of this.#channels) {
      if (channel.isIdle()) return channel
      if (!channel.isOpen()) this.#channels.delete(channel)
    }
    return undefined
  }

  close(): void {
    for (const channel of this.#channels) channel.close()
  }
}
