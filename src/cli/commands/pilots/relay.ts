import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import { pino } from 'pino'
import { z } from 'zod'
import { InputError } from '../../../client/errors.ts'
import { makePrivateFolder } from '../../../common/private-path.ts'
import { onInterrupt } from '../../exit/interrupt.ts'
import { bareHost } from '../../../common/plain/bare-host.ts'
import { stateOf } from '../../options/common-options.ts'

interface Options {
  listen: string
  manager: string
  ca?: string
  cache?: string
  cacheSize?: number
  bandwidth?: number
}

export function define(command: Command): void {
  command
    .description(
      'Runs on a machine that pilots reach and that reaches the manager, such as a gateway. Carries their connections to the manager as ' +
        'they are, and keeps the files of contexts, so that these cross the link to the manager once. Sites name it: relay: HOST:PORT.',
    )
    .requiredOption('--listen <address>', 'HOST:PORT at which pilots reach it', hostAndPort)
    .requiredOption('--manager <url>', 'the manager, as this machine reaches it', managerUrl)
    .option('--ca <file>', 'the manager’s certificate: manager.crt of its state folder')
    .option('--cache <folder>', 'keeps the files of contexts (default: relay in the state folder)')
    .option('--cache-size <size>', 'most disk that these may take, such as 200GB: the least used go', bytes)
    .option('--bandwidth <size>', 'most bytes a second from the manager, such as 50MB', bytes)
    .action(async ({ listen, manager, ca, cache, cacheSize, bandwidth }: Options, command: Command) => {
      using interrupted = onInterrupt()
      const [{ startRelay }, { lookAtManager }, { openStore }, { dialAddress }] = await Promise.all([
        import('../../../relay/relay.ts'),
        import('../../../relay/look-at-manager.ts'),
        import('../../../bundle/store/store.ts'),
        import('../../../common/tunnel/forward.ts'),
      ])
      const folder = cache ?? join(stateOf(command), 'relay')
      await makePrivateFolder(folder)
      const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2))
      const budget = cacheSize === undefined ? {} : { budget: cacheSize }
      await using store = await openStore({ folder, ...budget, evict: true, log })
      const certificate = ca === undefined ? undefined : await readFile(ca, 'utf8')
      const seen = await lookAtManager(manager, certificate)
      if (seen.is === 'other')
        throw new InputError(`${manager} is not the manager that is meant: ${seen.why}`)
      if (seen.is === 'away')
        console.error(`${manager} cannot be reached now, and pilots get through once it can: ${seen.why}`)
      const at = listen.lastIndexOf(':')
      const { protocol, hostname, port } = new URL(manager)
      const target = { host: bareHost(hostname), port: Number(port) || (protocol === 'https:' ? 443 : 80) }
      await using relay = await startRelay({
        listen: { hosts: [bareHost(listen.slice(0, at))], port: Number(listen.slice(at + 1)) },
        dial: () => dialAddress(target),
        protocol: protocol === 'https:' ? 'https:' : 'http:',
        certificate,
        store,
        bytesPerSecond: bandwidth,
        log,
      })
      console.log(`relay of ${manager} is listening on port ${relay.port}`)
      if (!interrupted.aborted) await once(interrupted, 'abort')
    })
}

function hostAndPort(text: string): string {
  if (/^(\[[\da-fA-F:.]+\]|[\w.-]+):\d{1,5}$/.test(text)) return text
  throw new InvalidArgumentError('It must be HOST:PORT, such as 0.0.0.0:9800.')
}

function managerUrl(text: string): string {
  if (z.url({ protocol: /^https?$/ }).safeParse(text).success) return text
  throw new InvalidArgumentError('It must be a URL, such as https://submit:9700.')
}

function bytes(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(KB|MB|GB)$/.exec(text) ?? []
  const value = Number(number) * { KB: 1e3, MB: 1e6, GB: 1e9 }[(unit ?? 'KB') as 'KB' | 'MB' | 'GB']
  if (value >= 1) return value
  throw new InvalidArgumentError('It must be an amount a second, such as 50MB.')
}
