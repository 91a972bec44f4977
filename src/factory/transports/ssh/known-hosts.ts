import { createHash, createHmac } from 'node:crypto'

/** One line of a known_hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). */
export type KnownHost = {
  /** Where it stands, for the user: `FILE:LINE`. */
  place: string
  marker?: '@cert-authority' | '@revoked'
  /** Patterns separated by commas, or one hashed name. */
  names: string
  type: string
  /** The public key, base64. */
  key: string
}

/**
 * What the known hosts say of a server's key. `changed`: other keys of its type are known; `unknown`: none is. `authority`: only an
 * authority for certificates is known, which says nothing of a plain key.
 */
export type Verdict =
  { is: 'known' } | { is: 'revoked' | 'changed' | 'authority'; at: string } | { is: 'unknown' }

/** The lines of a known_hosts file that can be read; others are skipped, as OpenSSH does. */
export function parseKnownHosts(text: string, file: string): KnownHost[] {
  return text.split('\n').flatMap((line, index): KnownHost[] => {
    const words = line.trim().split(/\s+/)
    const marker = words[0]?.startsWith('@') ? words.shift() : undefined
    const [names, type, key] = words
    if (!names || names.startsWith('#') || !type || !key) return []
    if (marker !== undefined && marker !== '@cert-authority' && marker !== '@revoked') return []
    return [{ place: `${file}:${index + 1}`, ...(marker && { marker }), names, type, key }]
  })
}

/** How known_hosts names a server: `HOST`, or `[HOST]:PORT` where the port is not 22. */
export const knownName = (host: string, port: number): string =>
  port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`

/** The lines about a server. @param name as of {@link knownName} */
export function linesAbout(name: string, hosts: readonly KnownHost[]): KnownHost[] {
  return hosts.filter(({ names }) => matches(names, name))
}

/** @param key the server's public key as it sent it: a blob of RFC 4253 */
export function judgeKey(lines: readonly KnownHost[], key: Buffer): Verdict {
  const base64 = key.toString('base64')
  const type = keyType(key)
  const revoked = lines.find((line) => line.marker === '@revoked' && line.key === base64)
  if (revoked) return { is: 'revoked', at: revoked.place }
  const plain = lines.filter(({ marker }) => marker === undefined)
  if (plain.some((line) => line.key === base64)) return { is: 'known' }
  const other = plain.find((line) => line.type === type)
  if (other) return { is: 'changed', at: other.place }
  const authority = lines.find(({ marker }) => marker === '@cert-authority')
  if (authority) return { is: 'authority', at: authority.place }
  return { is: 'unknown' }
}

/** The name at the beginning of a public key, such as `ssh-ed25519`. */
export function keyType(key: Buffer): string {
  const length = key.length >= 4 ? key.readUInt32BE(0) : 0
  return key.toString('latin1', 4, 4 + Math.min(length, 100))
}

/** As `ssh-keygen -l` shows it. */
export const fingerprint = (key: Buffer): string =>
  `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`

/** Types of keys that servers have, strongest first, by the names of the signatures made with them. */
const SIGNATURES: Record<string, string[]> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256', 'ssh-rsa'],
}

/** Signatures to ask a server for: those with keys that are known first, so that it shows one of these if it has it. */
export function signaturesToAsk(lines: readonly KnownHost[]): string[] {
  const known = new Set(lines.filter(({ marker }) => marker === undefined).map(({ type }) => type))
  const types = Object.keys(SIGNATURES)
  return [...types.filter((type) => known.has(type)), ...types.filter((type) => !known.has(type))].flatMap(
    (type) => SIGNATURES[type]!,
  )
}

function matches(names: string, name: string): boolean {
  if (names.startsWith('|')) return matchesHash(names, name)
  const patterns = names.toLowerCase().split(',')
  const fits = (pattern: string) => toRegExp(pattern).test(name)
  return (
    patterns.some((pattern) => !pattern.startsWith('!') && fits(pattern)) &&
    !patterns.some((pattern) => pattern.startsWith('!') && fits(pattern.slice(1)))
  )
}

/** `|1|SALT|HASH`: an HMAC-SHA1 of the name. */
function matchesHash(hashed: string, name: string): boolean {
  const [, version, salt, hash] = hashed.split('|')
  if (version !== '1' || !salt || !hash) return false
  return createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest('base64') === hash
}

const toRegExp = (pattern: string) =>
  new RegExp(
    `^${pattern
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  )
