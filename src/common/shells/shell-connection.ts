import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { frame } from '../../protocol/channels/frames.ts'
import { ShellFrame, shellReader } from '../../protocol/channels/shell-frames.ts'
import type { ShellMessage } from '../../protocol/channels/shell-frames.ts'

/** How often each end says that it is there, and the silence after which the other one counts as gone, milliseconds. */
const PING_MS = 5_000
const SILENCE_MS = 20_000
/** Longest wait for the other end to take the last of what is sent, milliseconds. */
const LAST_MS = 5_000

/** One end of a channel of a shell (see `protocol/channels/shell-frames.ts`). */
export interface ShellConnection {
  /** Sends a frame; false if the other end is slow: send no more bytes before `onDrain`. */
  send(frame: Buffer): boolean
  /** Takes no more frames, but for those of what has come already. */
  pause(): void
  resume(): void
  /** Sends what is left, and this, and closes. */
  end(last?: Buffer): void
  destroy(): void
}

export interface ShellConnectionOptions {
  /** Whose frames come in. */
  from: 'user' | 'pilot'
  /** Takes each frame but PING. What it throws ends the channel. */
  onFrame: (message: ShellMessage) => void
  /** The other end is ready for more bytes. */
  onDrain: () => void
  /** Called once, when it is over for whatever reason. */
  onClosed: (why: string) => void
}

/** Speaks frames over a connection, checks each that comes, and notices when the other end is gone. */
export function openShellConnection(
  socket: Duplex,
  { from, onFrame, onDrain, onClosed }: ShellConnectionOptions,
): ShellConnection {
  let heardAt = performance.now()
  let why = 'the connection was closed'
  const close = (reason: string) => {
    why = reason
    socket.destroy()
  }
  const reader = shellReader(from, (message) => {
    if (message.kind !== ShellFrame.PING) onFrame(message)
  })
  const beat = setInterval(() => {
    // Held back by us, it can say nothing.
    if (socket.isPaused()) heardAt = performance.now()
    if (performance.now() - heardAt > SILENCE_MS) return close(`nothing was heard for ${SILENCE_MS} ms`)
    if (!socket.writableEnded && socket.writableLength === 0) socket.write(frame(ShellFrame.PING))
  }, PING_MS)
  beat.unref()

  // A keystroke is a packet of its own.
  if (socket instanceof Socket) socket.setNoDelay(true)
  socket.on('data', (chunk: Buffer) => {
    heardAt = performance.now()
    try {
      reader.push(chunk)
    } catch (error) {
      close((error as Error).message)
    }
  })
  socket.on('drain', onDrain)
  socket.on('error', (error) => (why = error.message))
  socket.once('end', () => socket.destroy())
  socket.once('close', () => {
    clearInterval(beat)
    onClosed(why)
  })

  return {
    send: (bytes) => socket.destroyed || socket.writableEnded || socket.write(bytes),
    pause: () => void socket.pause(),
    resume() {
      heardAt = performance.now()
      socket.resume()
    },
    end(last) {
      if (last && !socket.writableEnded) socket.write(last)
      socket.end()
      // What comes meanwhile must be read: a connection that is closed before loses the last of what was sent.
      socket.resume()
      setTimeout(() => socket.destroy(), LAST_MS).unref()
    },
    destroy: () => void socket.destroy(),
  }
}
