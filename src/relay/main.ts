import { setTimeout as sleep } from 'node:timers/promises'
import { readFile, writeFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { openStore } from '../bundle/store/store.ts'
import { makePrivateFolder } from '../common/private-path.ts'
import { readFirstLine } from '../common/tunnel/first-line.ts'
import { brokenConnection, openTunnel, type Tunnel } from '../common/tunnel/tunnel.ts'
import { RELAY_LINE_MOST, type RelayPlace, RelaySettings } from '../protocol/relay.ts'
import { listenAddresses } from './policy/listen-addresses.ts'
import { startRelay } from './relay.ts'

/*
 * The relay that a factory starts on a submit node, over SSH: it has a line of settings on standard input, answers with a line on standard
 * output, and from then on both are the tunnel that leads to the manager. It ends with them. Its log is standard error.
 */

/** How long a former relay of the same factory may take to end, milliseconds. */
const FORMER_MS = 5_000
const LOOK_MS = 50

const log = pino({ base: null, level: 'warn' }, pino.destination({ fd: 2, sync: true }))

// Not those of `process`, which hold up everything else while the other side does not read.
const input = new Socket({ fd: 0, readable: true, writable: false })
const output = new Socket({ fd: 1, readable: false, writable: true })
for (const end of [input, output]) end.on('error', () => {})

try {
  await run(RelaySettings.parse(JSON.parse(await readFirstLine(input, RELAY_LINE_MOST))))
} catch (error) {
  log.error({ err: error }, (error as Error).message)
  process.exitCode = 1
}
// What is under way has no other end any more.
process.exit()

async function run(settings: RelaySettings): Promise<void> {
  const { name, address, port, cache, cacheBytes, certificate, runtimes } = settings
  await makePrivateFolder(cache)
  await replaceFormer(join(cache, `${name}.${hostname()}.pid`), name)
  await using store = await openStore({ folder: cache, budget: cacheBytes, evict: true, log })
  const opened: { tunnel?: Tunnel } = {}
  const addresses = address === undefined ? ownAddresses() : [address]
  const start = (port: number) =>
    startRelay({
      listen: { hosts: addresses, port },
      dial: () => opened.tunnel?.dial() ?? brokenConnection('the relay is only starting'),
      ...{ protocol: 'https:', certificate, store, runtimes, log },
    })
  await using relay = await start(port).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE' || port === 0) throw error
    return start(0)
  })
  const place: RelayPlace = { addresses, port: relay.port }
  output.write(`${JSON.stringify(place)}\n`)
  opened.tunnel = await openTunnel({ readable: input, writable: output })
  await opened.tunnel.ended
}

function ownAddresses(): string[] {
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  return listenAddresses(own, process.env['SSH_CONNECTION']?.split(' ')[2])
}

/** Ends a relay of the same factory whose connection has gone without its notice: it would keep the port from this one. */
async function replaceFormer(file: string, name: string): Promise<void> {
  const pid = Number(await readFile(file, 'utf8').catch(() => ''))
  const isFormer = async () => {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    return pid !== process.pid && command.includes('relay.js') && command.split('\0').includes(name)
  }
  const givenUpAt = performance.now() + FORMER_MS
  if (pid > 0 && (await isFormer())) process.kill(pid, 'SIGTERM')
  while (pid > 0 && (await isFormer())) {
    if (performance.now() > givenUpAt) process.kill(pid, 'SIGKILL')
    await sleep(LOOK_MS)
  }
  await writeFile(file, String(process.pid), { mode: 0o600 })
}
