import { STATUS_CODES } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { accept, serveUpgrades, turnAway } from '../../../common/upgrades/serve-upgrades.ts'
import { SHELL } from '../../../protocol/channels/shell-frames.ts'
import { paramsOf } from '../../../protocol/routes/route.ts'
import { managerRoutes } from '../../../protocol/routes/manager-routes.ts'
import { notFound, RequestError, unauthorised } from '../api-errors.ts'
import type { WorkerSessions } from '../../services/pilots/worker-sessions.ts'
import type { Shells } from '../../services/shells.ts'
import { bearer, matches } from '../../services/tokens.ts'
import { parse } from '../server.ts'

const { openShell, joinShell } = managerRoutes

export interface ShellRoutes {
  shells: Shells
  sessions: WorkerSessions
  /** Hash of the owner's token: no other opens a shell. */
  user: Uint8Array
}

/** Channels of shells, from users and from pilots (see `protocol/channels/shell-frames.ts`). */
export function shellRoutes(scope: FastifyInstance, { shells, sessions, user }: ShellRoutes): void {
  serveUpgrades(scope, SHELL, async ({ method, url = '', headers }, socket) => {
    const token = bearer(headers.authorization)
    const ofUser = paramsOf(openShell, url)
    const ofPilot = paramsOf(joinShell, url)
    try {
      if (method !== 'GET') throw notFound('there is no such channel')
      if (ofUser) {
        if (token === undefined || !matches(token, user)) throw unauthorised()
        const session = shells.admit(parse(openShell.params, ofUser).pilot)
        accept(socket, SHELL)
        shells.open(session, socket, socket.remoteAddress)
      } else if (ofPilot) {
        const { worker, shell } = parse(joinShell.params, ofPilot)
        if (sessions.authenticate(token).worker !== worker) throw unauthorised()
        const wanted = shells.find(worker, shell)
        accept(socket, SHELL)
        shells.join(wanted, socket)
      } else throw notFound('there is no such channel')
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      const { status, code, message } = error
      turnAway(socket, `${status} ${STATUS_CODES[status]}`, { code, message })
    }
    return Promise.resolve()
  })
}
