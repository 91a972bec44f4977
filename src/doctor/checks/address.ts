import { X509Certificate } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { bareHost } from '../../common/plain/bare-host.ts'
import { connect } from '../../client/index.ts'
import { isGone, readEndpoint } from '../../client/endpoint.ts'
import { type Config, relaysByHand } from '../../factory/config/config.ts'
import { isLoopback } from '../../manager/http/tls.ts'
import type { AddressFacts } from '../policy/judge-address.ts'

/** Where the manager of a configuration listens, and what pilots are told. */
export interface ManagerAddress {
  host: string
  port: number
  url: string
  tls: boolean
}

/**
 * Looks at where the manager listens, or would.
 * @param config with the sites whose pilots are to find it
 */
export async function lookAtAddress(
  config: Pick<Config, 'manager' | 'sites'>,
  address: ManagerAddress,
  state: string,
): Promise<AddressFacts> {
  const { host, port } = address
  const running = await isRunning(state)
  const url =
    config.manager.url ?? (running === 'answers' ? readEndpoint(state)?.url : undefined) ?? address.url
  const name = bareHost(new URL(url).hostname)
  return {
    ...address,
    url,
    resolved: await resolve(name),
    loopback: isLoopback,
    running,
    listening: running === 'no' ? await tryListening(host, port) : 'yes',
    remoteSites: config.sites
      .filter(({ kind, relay }) => kind !== 'local' && relay === undefined)
      .map(({ name }) => name),
    reachedFrom: [],
    relayedSites: relaysByHand(config).map(({ name, host }) => ({ name, host })),
    certificate: await readCertificate(state, name),
  }
}

async function isRunning(state: string): Promise<string> {
  const endpoint = readEndpoint(state)
  if (!endpoint || isGone(endpoint)) return 'no'
  await using client = connect({ state, patienceMs: 0 })
  return await client.jobs().then(
    () => 'answers',
    (error: Error) => error.message,
  )
}

async function resolve(name: string): Promise<string[] | string> {
  return await lookup(name, { all: true }).then(
    (found) => found.map(({ address }) => address),
    (error: Error) => error.message,
  )
}

function tryListening(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: Error) => resolve(error.message))
    server.listen({ host, port }, () => server.close(() => resolve('yes')))
  })
}

async function readCertificate(state: string, name: string): Promise<AddressFacts['certificate']> {
  const text = await readFile(join(state, 'manager.crt'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const certificate = new X509Certificate(text)
  const names = (certificate.subjectAltName ?? '')
    .split(', ')
    .map((each) => each.replace(/^(DNS|IP Address):/, ''))
  return { names, matches: (certificate.checkHost(name) ?? certificate.checkIP(name)) !== undefined }
}
