import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { parseJson } from '../../protocol/primitives.ts'
import { DashboardRole, type LoginCode } from '../../protocol/dashboard-login.ts'
import { hashToken, matches } from '../../manager/services/tokens.ts'
import type { DashboardServices } from './dashboard-services.ts'

/** A code is good for this long: time enough to set up a tunnel, milliseconds. */
const CODE_MS = 10 * 60_000
/** A session is good for this long, milliseconds. */
export const SESSION_MS = 7 * 24 * 3_600_000
/** Most codes and sessions there are at a time; further ones take the place of the oldest. */
const MAX = 100

/** What is kept of a session: hashes of its two halves, hex. */
const Session = z.object({
  cookie: z.string(),
  key: z.string(),
  role: DashboardRole,
  expiresAt: z.int(),
})
export type Session = z.infer<typeof Session>

/** Under which they are kept while the manager does not run. */
const KEPT = 'dashboard-sessions'

const secret = () => randomBytes(32).toString('base64url')
const hashOf = (text: string) => hashToken(text).toString('hex')

/** Who is signed in to the dashboard. Codes end with the process; sessions go on after a restart. */
export class Sessions {
  readonly #kept: DashboardServices['kept']
  readonly #now: () => number
  /** Codes by their hash, the oldest first. */
  readonly #codes = new Map<string, { role: DashboardRole; expiresAt: number }>()
  #sessions: Session[]

  constructor(kept: DashboardServices['kept'], now: () => number) {
    this.#kept = kept
    this.#now = now
    const before = z.array(Session).safeParse(parseJson(kept.read(KEPT) ?? ''))
    this.#sessions = before.success ? before.data : []
  }

  /** Makes a code that opens one session. */
  issue(role: DashboardRole): LoginCode {
    const code = secret()
    const expiresAt = this.#now() + CODE_MS
    this.#codes.set(hashOf(code), { role, expiresAt })
    for (const oldest of [...this.#codes.keys()].slice(0, -MAX)) this.#codes.delete(oldest)
    return { code, role, expiresAt }
  }

  /** Exchanges a code for a session; undefined if it is not one, or not good any more. */
  open(code: string): { cookie: string; key: string; role: DashboardRole } | undefined {
    const hash = hashOf(code)
    const issued = this.#codes.get(hash)
    this.#codes.delete(hash)
    if (!issued || issued.expiresAt <= this.#now()) return undefined
    const [cookie, key] = [secret(), secret()]
    const { role } = issued
    const expiresAt = this.#now() + SESSION_MS
    this.#keep([...this.#sessions, { cookie: hashOf(cookie), key: hashOf(key), role, expiresAt }])
    return { cookie, key, role }
  }

  /** The session that both halves belong to. */
  find(cookie: string | undefined, key: string | undefined): Session | undefined {
    if (cookie === undefined || key === undefined) return undefined
    const hash = hashOf(cookie)
    const found = this.#sessions.find((session) => session.cookie === hash)
    return found && matches(key, Buffer.from(found.key, 'hex')) && this.isGood(found) ? found : undefined
  }

  /** Whether it has not ended. */
  isGood(session: Session): boolean {
    return session.expiresAt > this.#now() && this.#sessions.includes(session)
  }

  /** Signs one out. */
  end(session: Session): void {
    this.#keep(this.#sessions.filter((other) => other !== session))
  }

  /** Signs all out; returns how many there were. */
  endAll(): number {
    const ended = this.#sessions.filter((session) => this.isGood(session)).length
    this.#codes.clear()
    this.#keep([])
    return ended
  }

  #keep(sessions: Session[]): void {
    const now = this.#now()
    this.#sessions = sessions.filter(({ expiresAt }) => expiresAt > now).slice(-MAX)
    this.#kept.write(KEPT, JSON.stringify(this.#sessions))
  }
}
