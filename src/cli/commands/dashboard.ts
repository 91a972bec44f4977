import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { readCertificate, readEndpoint } from '../../client/endpoint.ts'
import { plural, timeOfDay } from '../views/format.ts'
import { clientFor, stateOf } from '../options/common-options.ts'

interface Options {
  viewer?: boolean
  open: boolean
  signOut?: boolean
}

export function define(command: Command): void {
  command
    .description(
      'Prints an address that opens the dashboard in a browser, and opens it if there is a screen. The address signs one browser ' +
        'in, once, within ten minutes; the session then lasts a week.',
    )
    .option('--viewer', 'a session that can look, but not act')
    .option('--no-open', 'only print the address')
    .option('--sign-out', 'sign all browsers out instead')
    .action(dashboard)
}

async function dashboard({ viewer, open, signOut }: Options, command: Command): Promise<void> {
  await using client = clientFor(command, { patienceMs: 0 })
  if (signOut) return console.log(`${plural(await client.endDashboardSessions(), 'session')} ended`)
  const { code, expiresAt } = await client.dashboardCode(viewer ? 'viewer' : 'operator')
  const state = stateOf(command)
  const { url } = readEndpoint(state)!
  // Browsers keep what follows the # to themselves: no server or proxy logs it.
  const address = `${url}/dashboard/#code=${code}`
  console.log(address)
  console.error(`signs one browser in, until ${timeOfDay(expiresAt)}`)
  for (const line of await hints(state, new URL(url))) console.error(line)
  if (open && hasScreen()) await openBrowser(state, address)
}

/** What else a user has to know to get there. */
async function hints(state: string, { protocol, hostname: host, port }: URL): Promise<string[]> {
  const lines: string[] = []
  if (process.env.SSH_CONNECTION !== undefined) {
    const tunnel = `ssh -L ${port}:${host}:${port} ${userInfo().username}@${hostname()}`
    lines.push(
      `from your own machine: ${tunnel}, then open ${protocol}//localhost:${port}/dashboard/ with the same #code`,
    )
  }
  const certificate = protocol === 'https:' ? await readCertificate(state) : undefined
  if (certificate !== undefined) {
    const { fingerprint256 } = new X509Certificate(certificate)
    lines.push(`the browser will not know the certificate; its SHA-256 fingerprint must be ${fingerprint256}`)
  }
  return lines
}

const hasScreen = () =>
  process.stdout.isTTY && (process.env.DISPLAY !== undefined || process.env.WAYLAND_DISPLAY !== undefined)

/** By a file, as the command line of a browser shows to all users of the machine. */
async function openBrowser(state: string, address: string): Promise<void> {
  const file = join(state, 'dashboard.html')
  const page = `<!doctype html><meta http-equiv="refresh" content="0; url=${address}"><title>Gleaner</title>\n`
  await writeFile(`${file}.new`, page, { mode: 0o600 })
  await rename(`${file}.new`, file)
  const child = spawn('xdg-open', [file], { stdio: 'ignore', detached: true })
  child.on('error', () => {})
  child.unref()
}
