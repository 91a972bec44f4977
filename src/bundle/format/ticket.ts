import { sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/*
 * A ticket lets its holder fetch one bundle from any worker until it ends. The manager signs it (Ed25519); workers
 * know the manager's public key. As text: `gt1.` and base64url of 32 bytes bundle id, 8 bytes end (milliseconds since
 * 1970, big endian), 64 bytes signature. It always has the same length.
 */

const PREFIX = 'gt1.'
const SIGNED = 32 + 8
const LENGTH = SIGNED + 64
/** Keeps a signature for a ticket from being one for anything else. */
const DOMAIN = Buffer.from('gleaner ticket 1\0')

export type Ticket = {
  /** The bundle's id. */
  bundle: string
  /** Last moment it is good for, milliseconds since 1970. */
  notAfter: number
}

/** Makes a ticket's text with the manager's private Ed25519 key. */
export function signTicket(privateKey: KeyObject, ticket: Ticket): string {
  const signed = Buffer.alloc(SIGNED)
  signed.write(ticket.bundle, 'hex')
  signed.writeBigUInt64BE(BigInt(ticket.notAfter), 32)
  const signature = sign(null, Buffer.concat([DOMAIN, signed]), privateKey)
  return PREFIX + Buffer.concat([signed, signature]).toString('base64url')
}

/** Tickets whose signature was found good that are remembered: a worker shows its own with each request for pieces. */
const KNOWN_MOST = 1_000

/** Tells the tickets of a manager from other texts. */
export class TicketChecker {
  readonly #publicKey: KeyObject
  readonly #known = new Set<string>()

  /** @param publicKey the manager's, Ed25519 */
  constructor(publicKey: KeyObject) {
    this.#publicKey = publicKey
  }

  /**
   * Whether `text` is a ticket of the manager for this bundle, still good at `now` (milliseconds since 1970). Takes any text and
   * never throws.
   */
  isGood(text: string, bundle: string, now: number): boolean {
    if (!text.startsWith(PREFIX)) return false
    const bytes = Buffer.from(text.slice(PREFIX.length), 'base64url')
    if (bytes.length !== LENGTH || PREFIX + bytes.toString('base64url') !== text) return false
    const signed = bytes.subarray(0, SIGNED)
    if (signed.toString('hex', 0, 32) !== bundle || signed.readBigUInt64BE(32) < BigInt(now)) return false
    if (this.#known.has(text)) return true
    if (!verify(null, Buffer.concat([DOMAIN, signed]), this.#publicKey, bytes.subarray(SIGNED))) return false
    if (this.#known.size >= KNOWN_MOST) this.#known.clear()
    this.#known.add(text)
    return true
  }
}
