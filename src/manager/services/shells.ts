import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { openShellConnection, type ShellConnection } from '../../common/shells/shell-connection.ts'
import { explain, parseJson } from '../../protocol/primitives.ts'
import { frame } from '../../protocol/channels/frames.ts'
import {
  failedFrame,
  ShellFrame,
  type ShellMessage,
  ShellRequest,
} from '../../protocol/channels/shell-frames.ts'
import type { NewEvent } from '../../protocol/events.ts'
import { busy, notFound, RequestError } from '../http/api-errors.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Session, WorkerSessions } from './pilots/worker-sessions.ts'

/** Shells at once in one pilot, and in all. */
const IN_PILOT = 8
const IN_ALL = 100
/** Longest wait for the user's command to say what it wants, and for the pilot to dial, milliseconds. */
const REQUEST_MS = 10_000
const DIAL_MS = 45_000
/** Frames of a user that may come in one piece with the request, while its pilot has not dialled. */
const EARLY_MOST = 10_000

type Shell = {
  id: string
  session: Session
  user: ShellConnection
  /** The pilot's end, once it has dialled. */
  pilot?: ShellConnection
  /** Whether the pilot's worker was told. */
  told: boolean
  /** Frames for the pilot, which has not dialled yet; the request is the first. */
  early: Buffer[]
  timer: NodeJS.Timeout
  openedAt?: number
  address: string | undefined
  log: Logger
}

/**
 * Shells in pilots (see `protocol/channels/shell-frames.ts`): brings the user's end and the pilot's together, and passes on what one
 * sends to the other, frame by frame, no faster than it is taken.
 */
export class Shells {
  readonly #sessions: WorkerSessions
  readonly #dispatcher: Dispatcher
  readonly #mayOpen: (site: string) => boolean
  readonly #log: Logger
  readonly #note: (event: NewEvent) => void
  readonly #shells = new Map<string, Shell>()

  constructor(parts: {
    sessions: WorkerSessions
    dispatcher: Dispatcher
    /** Writes down what happened. */
    note: (event: NewEvent) => void
    /** Whether shells are allowed at a site. */
    mayOpen: (site: string) => boolean
    log: Logger
  }) {
    this.#sessions = parts.sessions
    this.#dispatcher = parts.dispatcher
    this.#mayOpen = parts.mayOpen
    this.#log = parts.log
    this.#note = parts.note
    parts.dispatcher.shells = {
      haveNews: (worker) => this.#wantedOf(worker).some(({ told }) => !told),
      tell: (worker) =>
        this.#wantedOf(worker).map((shell) => {
          shell.told = true
          return shell.id
        }),
    }
    parts.dispatcher.on('worker-gone', (worker) => {
      for (const shell of this.#of(worker)) this.#fail(shell, 'the pilot has ended')
    })
  }

  #of(worker: string): Shell[] {
    return [...this.#shells.values()].filter(({ session }) => session.worker === worker)
  }

  #wantedOf(worker: string): Shell[] {
    if (this.#shells.size === 0) return []
    return this.#of(worker).filter(({ pilot, early }) => !pilot && early.length > 0)
  }

  /**
   * The pilot in which a shell may be opened now.
   * @throws {RequestError} 403 where the site does not allow it, 404 for a pilot without a worker, 429
   */
  admit(pilot: string): Session {
    const session = [...this.#sessions.all].find((session) => session.pilot === pilot)
    if (!session)
      throw notFound(
        `pilot ${pilot} has no worker now: it waits in the queue, or has ended; see "factory status"`,
      )
    const { site, worker } = session
    if (!this.#mayOpen(site)) {
      this.#log.warn({ pilot, site }, 'a shell was refused: the site does not allow it')
      throw new RequestError(
        403,
        'GLEANER_SHELL_NOT_ALLOWED',
        `site ${site} does not allow shells: set shell: true for it in factory.yaml, and "factory reload"; pilots submitted since then allow it`,
      )
    }
    if (this.#of(worker).length >= IN_PILOT)
      throw busy(`pilot ${pilot} has ${IN_PILOT} shells already: close one`)
    if (this.#shells.size >= IN_ALL) throw busy(`there are ${IN_ALL} shells already: close one`)
    return session
  }

  /** Takes a user's end: what it wants is told to the pilot, which is to dial. @param address the user's, for the log */
  open(session: Session, socket: Duplex, address: string | undefined): void {
    const id = randomBytes(16).toString('hex')
    const { pilot, worker, site } = session
    const user = openShellConnection(socket, {
      from: 'user',
      onFrame: (message) => this.#fromUser(shell, message),
      onDrain: () => shell.pilot?.resume(),
      onClosed: (why) => this.#close(shell, { ended: 'the user has gone', why }),
    })
    const late = () => this.#fail(shell, 'nothing was said of what is wanted')
    const log = this.#log.child({ shell: id, pilot, worker, site, address })
    const shell: Shell = {
      id,
      session,
      user,
      address,
      told: false,
      early: [],
      timer: setTimeout(late, REQUEST_MS),
      log,
    }
    this.#shells.set(id, shell)
  }

  /** Takes the pilot's end of a shell that was wanted of this worker. @throws {RequestError} 404 if it is not wanted any more */
  find(worker: string, id: string): Shell {
    const shell = this.#shells.get(id)
    if (shell?.session.worker !== worker || shell.pilot || shell.early.length === 0)
      throw notFound('this shell is not wanted any more')
    return shell
  }

  join(shell: Shell, socket: Duplex): void {
    clearTimeout(shell.timer)
    const pilot = openShellConnection(socket, {
      from: 'pilot',
      onFrame: (message) => this.#fromPilot(shell, message),
      onDrain: () => shell.user.resume(),
      onClosed: (why) => this.#fail(shell, `the connection to the pilot broke: ${why}`),
    })
    shell.pilot = pilot
    for (const frame of shell.early.splice(0)) pilot.send(frame)
    shell.user.resume()
  }

  #fromUser(shell: Shell, { kind, first, second, body }: ShellMessage): void {
    if (!this.#shells.has(shell.id)) return
    const { user, pilot, early } = shell
    if (kind === ShellFrame.OPEN) {
      if (pilot || early.length > 0) throw new Error('it says twice what is wanted')
      this.#request(shell, body)
    } else if (!pilot && early.length === 0) throw new Error('it does not begin with what is wanted')
    const bytes = frame(kind, first, second, body)
    if (pilot) {
      if (!pilot.send(bytes)) user.pause()
    } else if (early.push(bytes) > EARLY_MOST) throw new Error('it sends too much before the start')
  }

  #request(shell: Shell, body: Buffer): void {
    const request = ShellRequest.safeParse(parseJson(body.toString()))
    if (!request.success) return this.#fail(shell, explain(request.error))
    const { command, terminal, user } = request.data
    shell.openedAt = performance.now()
    // Arguments may hold secrets.
    shell.log.info({ user, program: command?.[0], terminal: terminal !== undefined }, 'shell opened')
    const { pilot, site } = shell.session
    this.#note({
      type: 'shell-opened',
      shell: shell.id,
      pilot,
      site,
      user,
      terminal: terminal !== undefined,
      ...(shell.address !== undefined && { address: shell.address.slice(0, 100) }),
      ...(command && { program: command[0]!.slice(0, 200) }),
    })
    clearTimeout(shell.timer)
    const late = () =>
      this.#fail(shell, 'the pilot did not answer: it may be suspended, or cannot reach the manager now')
    shell.timer = setTimeout(late, DIAL_MS)
    shell.user.pause()
    // When the request is among what waits for the pilot.
    queueMicrotask(() => this.#dispatcher.nudge(shell.session.worker))
  }

  #fromPilot(shell: Shell, { kind, first, second, body }: ShellMessage): void {
    const bytes = frame(kind, first, second, body)
    if (kind === ShellFrame.EXIT || kind === ShellFrame.FAILED) {
      const reason =
        kind === ShellFrame.FAILED ? { reason: body.toString() } : { code: first, signal: second }
      shell.user.end(bytes)
      return this.#close(shell, reason)
    }
    if (!shell.user.send(bytes)) shell.pilot?.pause()
  }

  #fail(shell: Shell, reason: string): void {
    if (!this.#shells.has(shell.id)) return
    shell.user.end(failedFrame(reason))
    this.#close(shell, { reason })
  }

  #close(shell: Shell, how: Record<string, string | number>): void {
    if (!this.#shells.delete(shell.id)) return
    clearTimeout(shell.timer)
    shell.pilot?.end()
    if (shell.openedAt === undefined) return
    const ms = Math.round(performance.now() - shell.openedAt)
    shell.log.info({ ...how, ms }, 'shell closed')
    const { pilot, site } = shell.session
    const text = Object.entries(how).map(([name, value]) => `${name} ${value}`)
    this.#note({ type: 'shell-closed', shell: shell.id, pilot, site, how: text.join(', ').slice(0, 200), ms })
  }
}
