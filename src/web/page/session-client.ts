import type { DashboardRole, LoginResponse } from '../../protocol/dashboard-login.ts'
import { KEY_HEADER } from '../session-header.ts'

/** Where the page's half of the session is kept: other origins, other ports of this host included, cannot read it. */
const KEPT = 'gleaner-key'

/** A refusal of the server: what it says is for the user. */
export class Refusal extends Error {
  override name = 'Refusal'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** The code that came with the address, if there is one; it is taken out of the address. */
export function takeCode(): string | undefined {
  const code = new URLSearchParams(location.hash.slice(1)).get('code')
  if (code === null) return undefined
  history.replaceState(null, '', location.pathname)
  return code
}

/** Signs in with a code from `factory dashboard`. @throws Refusal */
export async function signIn(code: string): Promise<DashboardRole> {
  const response = await request('/dashboard/session', 'POST', { code })
  const { role, key } = (await response.json()) as LoginResponse
  localStorage.setItem(KEPT, key)
  return role
}

export async function signOut(): Promise<void> {
  await ask('session', 'DELETE').catch(() => undefined)
  localStorage.removeItem(KEPT)
}

/** Asks the server, as the one who is signed in. @throws Refusal, TypeError if it cannot be reached */
export async function ask(path: string, method: 'GET' | 'POST' | 'DELETE' = 'GET'): Promise<unknown> {
  return (await request(`/dashboard/api/${path}`, method)).json()
}

/** The same for an answer that goes on. */
export const open = (path: string, signal: AbortSignal): Promise<Response> =>
  request(`/dashboard/api/${path}`, 'GET', undefined, signal)

async function request(path: string, method: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const key = localStorage.getItem(KEPT)
  const response = await fetch(path, {
    method,
    credentials: 'same-origin',
    cache: 'no-store',
    headers: {
      ...(key !== null && { [KEY_HEADER]: key }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
    ...(signal && { signal }),
  })
  if (response.ok) return response
  const answer = (await response.json().catch(() => undefined)) as
    { error?: { message?: string } } | undefined
  throw new Refusal(response.status, answer?.error?.message ?? `the server answered ${response.status}`)
}
