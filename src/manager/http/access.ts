import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import type { Session, WorkerSessions } from '../services/pilots/worker-sessions.ts'
import { bearer, matches } from '../services/tokens.ts'
import { unauthorised } from './api-errors.ts'

/** Lets in who has one of these tokens, given by their hashes. */
export function tokenOnly(...hashes: readonly Uint8Array[]): onRequestHookHandler {
  return before(({ headers }) => {
    const token = bearer(headers.authorization)
    if (token === undefined || !hashes.some((hash) => matches(token, hash))) throw unauthorised()
  })
}

/** Who is let in where; asked before a body is read. */
export function managerAccess(sessions: WorkerSessions, user: Uint8Array, metrics: Uint8Array) {
  return {
    user: tokenOnly(user),
    metrics: tokenOnly(user, metrics),
    pilot: before(({ headers }) => void sessions.pilotOf(bearer(headers.authorization))),
    anyWorker: before(({ headers }) => void sessions.authenticate(bearer(headers.authorization))),
    ownWorker: before((request) => void ownSession(sessions, request)),
  }
}

/** The session of the worker that the path names. @throws {RequestError} 401 if it is another's */
export function ownSession(sessions: WorkerSessions, { headers, params }: FastifyRequest): Session {
  const session = sessions.authenticate(bearer(headers.authorization))
  if (session.worker !== (params as { worker?: unknown }).worker) throw unauthorised()
  return session
}

function before(check: (request: FastifyRequest) => void): onRequestHookHandler {
  return (request, _reply, done) => {
    check(request)
    done()
  }
}
