import { z } from 'zod'
import { Timestamp } from './primitives.ts'

/** What a session of the dashboard may do: a viewer looks, an operator also acts. */
export const DashboardRole = z.enum(['operator', 'viewer'])
export type DashboardRole = z.infer<typeof DashboardRole>

/** `POST /v1/dashboard/codes`: makes a code that opens one session in a browser. */
export const LoginCodeRequest = z.object({ role: DashboardRole.default('operator') })
export type LoginCodeRequest = z.input<typeof LoginCodeRequest>

export const LoginCode = z.object({
  /** Good once. Secret until then. */
  code: z.string().max(100),
  role: DashboardRole,
  /** When it is good no more, by the manager's clock. */
  expiresAt: Timestamp,
})
export type LoginCode = z.infer<typeof LoginCode>

/** `POST /v1/dashboard/end`: ends all sessions, and voids the codes that were not used yet. */
export const EndedSessions = z.object({ ended: z.int() })
export type EndedSessions = z.infer<typeof EndedSessions>

/** `POST /dashboard/session`: what the page sends to sign in. */
export const LoginRequest = z.object({ code: z.string().max(100) })

/** The other half of the session is in a cookie that the page cannot read. */
export const LoginResponse = z.object({
  role: DashboardRole,
  /**
   * To be sent with every request. Cookies go to all ports of a host, on which other users may listen; this is kept by the page,
   * and so known to its origin alone.
   */
  key: z.string().max(100),
})
export type LoginResponse = z.infer<typeof LoginResponse>
