import { once } from 'node:events'
import { join } from 'node:path'
import { isatty } from 'node:tty'
import { Option, type Command } from 'commander'
import { pino, type Logger } from 'pino'
import { makePrivateFolder, openPrivateFile } from '../../common/private-path.ts'
import { readEndpoint } from '../../client/endpoint.ts'
import { GleanerError } from '../../client/errors.ts'
import { LedgerLockedError } from '../../manager/ledger/database.ts'
import { ContextMode } from '../../protocol/contexts/context.ts'
import { LOG_FLAGS, reportStart, startDetached } from '../factory-process/detach.ts'
import { toFailure } from '../exit/failure.ts'
import { plural } from '../views/format.ts'
import { onInterrupt } from '../exit/interrupt.ts'
import { stateOf } from '../options/common-options.ts'
import type { Serving } from '../factory-process/serve.ts'
import { reloadText } from '../views/reload-view.ts'
import { version } from '../version.ts'

type Overrides = { contextMode?: ContextMode }

interface StartOptions extends Overrides {
  detach?: boolean
}

export function define(command: Command): void {
  command
    .description(
      'Starts the factory: it takes jobs, and keeps pilots at its sites while there is work. Ctrl-C, or "factory stop", stops it ' +
        'and removes its pilots. What it knows stays in the state folder, so that the next start goes on.',
    )
    .option('--detach', 'run in the background; return when it is ready')
    .addOption(
      new Option('--context-mode <mode>', 'what of a context outlives a task, to compare').choices(
        ContextMode.options,
      ),
    )
    .action(async ({ detach, contextMode }: StartOptions, command: Command) => {
      const state = stateOf(command)
      const logFile = join(state, 'factory.log')
      process.umask(0o077)
      await makePrivateFolder(state)
      const mode = contextMode === undefined ? [] : ['--context-mode', contextMode]
      if (detach) console.log(await startDetached(['start', '--state', state, ...mode], state, logFile, tell))
      else await start(state, logFile, contextMode === undefined ? {} : { contextMode })
    })
}

/** A factory runs on this state folder already. */
class AlreadyRunningError extends GleanerError {
  override name = 'AlreadyRunningError'
  override readonly code = 'GLEANER_CONFLICT'
}

/**
 * The lock of the ledger is what keeps two factories apart; endpoint.json only says which one has it. It alone would not do:
 * one that was killed leaves it behind, and after a reboot its process number may be anybody's.
 */
function nameTheOther(state: string, error: unknown): unknown {
  const endpoint = error instanceof LedgerLockedError ? readEndpoint(state) : undefined
  if (!endpoint) return error
  const { pid, host, url } = endpoint
  return new AlreadyRunningError(
    `a factory is running on ${state} already (process ${pid} on ${host}, ${url})`,
  )
}

async function start(state: string, logFile: string, overrides: Overrides): Promise<void> {
  // Without a terminal that could close, the signal means what it means to daemons.
  const hangUp = isatty(process.stdin.fd)
  using interrupted = onInterrupt({ hangUp })
  const running: { serving?: Serving } = {}
  if (!hangUp) process.on('SIGHUP', () => void (running.serving && reload(running.serving)))
  const serving = await begin(state, logFile, overrides).catch((thrown: unknown) => {
    const error = nameTheOther(state, thrown)
    reportStart({ failed: toFailure(error) })
    throw error
  })
  running.serving = serving
  const announcement = announce(serving, state, logFile)
  console.log(announcement)
  reportStart({ ready: announcement })

  const interruption = interrupted.aborted ? Promise.resolve() : once(interrupted, 'abort')
  const stop = Promise.race([serving.stopRequested, interruption]).then(() => {
    console.log('stopping')
    return serving.stop({ drain: false })
  })
  const drain = serving.drainRequested.then(() => {
    console.log('stopping when the queued work is done')
    return serving.stop({ drain: true })
  })
  await Promise.race([stop, drain])
}

async function reload(serving: Serving): Promise<void> {
  try {
    console.log(`read the configuration again: ${reloadText(await serving.reload())}`)
  } catch (error) {
    console.error(
      `the configuration cannot be read again, the old one stays in force: ${(error as Error).message}`,
    )
  }
}

const tell = (what: string) => console.error(what)

async function begin(state: string, logFile: string, overrides: Overrides): Promise<Serving> {
  // Loaded here, so that the other commands need not wait for the half of the program that only this one uses.
  const { serve } = await import('../factory-process/serve.ts')
  const onDoing = (what: string) => {
    if (process.connected) reportStart({ doing: what })
    else tell(what)
  }
  return await serve(state, version, openLog(logFile), overrides, onDoing)
}

/** A log that is lost, say to a full disk, is no reason to stop work. */
function openLog(file: string): Logger {
  const destination = pino.destination({ fd: openPrivateFile(file, LOG_FLAGS), sync: true })
  destination.on('error', () => {})
  return pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination)
}

function announce(
  { url, config, contexts, lostSites, warnings }: Serving,
  state: string,
  logFile: string,
): string {
  const sites = `${plural(config.sites.length, 'site')} (${config.sites.map(({ name }) => name).join(', ')})`
  const known = contexts.length > 0 ? `, ${plural(contexts.length, 'context')} (${contexts.join(', ')})` : ''
  return (
    `factory is running on ${state} at ${url}: ${sites}${known}\n` +
    `"factory stop" stops it; its log is ${logFile}` +
    lostSites
      .map(
        (name) =>
          `\nsite ${name} had pilots and is not configured any more: put it back, with max: 0, so that they are looked after and removed`,
      )
      .join('') +
    warnings.map((warning) => `\n${warning}`).join('')
  )
}
