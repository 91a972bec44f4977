import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/**
 * The secret of what is called `owner`: `owner.random`. The manager keeps only its hash.
 * @param random 32 random bytes, base64url
 */
export function makeToken(
  owner: string,
  random = randomBytes(32).toString('base64url'),
): { token: string; hash: Buffer } {
  const token = `${owner}.${random}`
  return { token, hash: hashToken(token) }
}

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** Compares in constant time. */
export function matches(token: string, hash: Uint8Array): boolean {
  const actual = hashToken(token)
  return actual.length === hash.length && timingSafeEqual(actual, hash)
}

/** The owner named in a token, to look its hash up by; undefined if it is not one. */
export function ownerOf(token: string): string | undefined {
  return /^([a-z]+[0-9]*)\.[A-Za-z0-9_-]{43}$/.exec(token)?.[1]
}

/** The token in an `Authorization: Bearer` header. */
export function bearer(header: string | undefined): string | undefined {
  return /^Bearer ([^\s]{1,200})$/i.exec(header ?? '')?.[1]
}
