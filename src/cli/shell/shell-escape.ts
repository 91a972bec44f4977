/** What to do with typed bytes: send these, and leave if `leaves`. */
export interface Typed {
  send: Buffer
  leaves: boolean
}

const [RETURN, NEWLINE, TILDE, DOT] = [0x0d, 0x0a, 0x7e, 0x2e]

/**
 * Looks for the way out of a terminal that does not answer: Enter, `~`, `.`, as in ssh. `~~` after Enter is one `~`.
 * @returns takes what was typed, piece by piece
 */
export function createEscape(): (typed: Buffer) => Typed {
  let isAtStart = true
  let isHeld = false
  return (typed) => {
    const send: number[] = []
    for (const byte of typed) {
      if (isHeld) {
        isHeld = false
        if (byte === DOT) return { send: Buffer.from(send), leaves: true }
        send.push(TILDE)
        if (byte === TILDE) {
          isAtStart = false
          continue
        }
      } else if (isAtStart && byte === TILDE) {
        isHeld = true
        isAtStart = false
        continue
      }
      send.push(byte)
      isAtStart = byte === RETURN || byte === NEWLINE
    }
    return { send: Buffer.from(send), leaves: false }
  }
}
