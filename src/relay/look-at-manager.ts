import { Agent, request } from 'undici'
import { trustOnlyCertificate } from '../common/tls-pinning.ts'
import { ApiErrorBody, parseJson } from '../protocol/primitives.ts'
import { pieceRoutes } from '../protocol/routes/piece-routes.ts'
import { pathOf } from '../protocol/routes/route.ts'

/** Longest wait for a connection, and for an answer over it, milliseconds. */
const ANSWER_MS = 10_000
/** A bundle that is asked for without a ticket: every manager refuses that in its own words. */
const NO_BUNDLE = '0'.repeat(64)
/** What Node and OpenSSL say of a certificate that is not trusted. */
const DISTRUSTED = /CERT|SIGNATURE|ISSUER/
/** What they say of an answer in another protocol than was spoken. */
const OTHER_PROTOCOL = /^(ERR_SSL|HPE_|UND_ERR_SOCKET|ECONNRESET|EPROTO)/

/** What is found at a manager's URL. `why` is for the user. */
export type ManagerSeen =
  | { is: 'manager' }
  /** Nothing answers, which may change. */
  | { is: 'away'; why: string }
  /** Not the manager that is meant. */
  | { is: 'other'; why: string }

/**
 * Looks whether a manager answers at a URL, and whether it is the one that is meant.
 * @param certificate PEM; the manager must show this very one. Without it, it must be one that this machine trusts.
 */
export async function lookAtManager(url: string, certificate?: string): Promise<ManagerSeen> {
  const trust = certificate === undefined ? {} : trustOnlyCertificate(certificate)
  const agent = new Agent({ connect: { timeout: ANSWER_MS, ...trust } })
  const path = pathOf(pieceRoutes.manifest, { params: { bundle: NO_BUNDLE } })
  const waits = { headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS }
  try {
    const { body } = await request(new URL(path, url), { dispatcher: agent, ...waits })
    const answer = ApiErrorBody.safeParse(parseJson(await body.text()))
    if (answer.data?.error.code === 'GLEANER_UNAUTHORISED') return { is: 'manager' }
    return { is: 'other', why: 'what answers there is no manager' }
  } catch (error) {
    return whyNot(error as NodeJS.ErrnoException, certificate !== undefined)
  } finally {
    await agent.destroy()
  }
}

function whyNot({ code = '', message }: NodeJS.ErrnoException, isPinned: boolean): ManagerSeen {
  if (DISTRUSTED.test(code)) {
    const why = isPinned
      ? 'it shows another certificate than that of --ca: the address, or the file, is another factory’s'
      : 'this machine does not trust its certificate: give manager.crt of the factory’s state folder by --ca'
    return { is: 'other', why }
  }
  if (OTHER_PROTOCOL.test(code))
    return {
      is: 'other',
      why: `it does not answer as it should; http and https may be confused (${message})`,
    }
  return { is: 'away', why: message }
}
