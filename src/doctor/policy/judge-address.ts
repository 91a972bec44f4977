import { bareHost } from '../../common/plain/bare-host.ts'
import { type Finding, findingsOf } from './finding.ts'

/** Where the manager listens, and what is known of it. */
export interface AddressFacts {
  host: string
  port: number
  /** What pilots are told. */
  url: string
  tls: boolean
  /** What looking up the name in that URL gave. */
  resolved: string[] | string
  loopback: (address: string) => boolean
  /** `no` if no factory runs on the state folder, `answers` if one does, or why it does not answer. */
  running: string
  /** `yes`, or why nothing could listen there; tried if no factory runs. */
  listening: string
  /** Sites whose pilots dial the manager from other machines. */
  remoteSites: string[]
  /** Those of them from whose nodes a probe has reached this machine there. */
  reachedFrom: string[]
  /** Sites whose pilots dial a relay that a user starts, and its host: it dials the manager from where it runs. */
  relayedSites: { name: string; host: string }[]
  /** Names of the certificate; undefined if there is none yet. */
  certificate: { names: string[]; matches: boolean } | undefined
}

/** Whether a manager can be there at all. */
export function judgeServer(facts: AddressFacts): Finding[] {
  return [...judgeListening(facts), ...judgeTls(facts)]
}

/** Whether pilots, and relays, will find it. */
export function judgeAddress(facts: AddressFacts): Finding[] {
  return [...judgeUrl(facts), ...judgeRelays(facts)]
}

function judgeListening({ running, listening, host, port }: AddressFacts): Finding[] {
  const { ok, error } = findingsOf('listen')
  if (running === 'answers') return [ok('A factory runs on this state folder, and answers.')]
  if (running !== 'no')
    return [
      error(
        `A factory runs on this state folder and does not answer: ${running}.`,
        'Neither commands nor pilots reach it.',
        'see factory.log in the state folder; "factory stop", and start it again',
      ),
    ]
  const where = `${host}:${port || 'a free port'}`
  if (listening === 'yes') return [ok(`No factory runs; one could listen at ${where}.`)]
  return [
    error(
      `A factory could not listen at ${where}: ${listening}.`,
      'It would not start.',
      'manager.listen: HOST:PORT, with an address of this machine and a port that is free',
    ),
  ]
}

function judgeUrl(facts: AddressFacts): Finding[] {
  const { url, loopback, remoteSites, reachedFrom } = facts
  const { ok, warning } = findingsOf('address')
  if (remoteSites.length === 0)
    return [ok('All pilots are on this machine, as the manager is, or reach it through a relay.')]
  const open = remoteSites.filter((site) => !reachedFrom.includes(site))
  if (open.length > 0) return [judgeUntried(facts, open.join(', '))]
  const reached = `Pilots of ${remoteSites.join(', ')} are told ${url}, and the probe's pilot reached it`
  if (!loopback(bareHost(new URL(url).hostname))) return [ok(`${reached}.`)]
  return [
    warning(
      `${reached}, because it ran on this very machine.`,
      'Pilots on any other node would look for the manager there.',
      listenBeyond(facts),
    ),
  ]
}

const nameIt =
  'manager.url: https://NAME:PORT, with a name or address of this machine that compute nodes can dial'
const listenBeyond = ({ port }: AddressFacts) =>
  `manager.listen: 0.0.0.0:${port || 9700}; and if this remains, ${nameIt}`

/** What is to be thought of the URL before a pilot of these sites has tried it. */
function judgeUntried(facts: AddressFacts, sites: string): Finding {
  const { url, resolved, loopback, port } = facts
  const { ok, warning, error } = findingsOf('address')
  if (typeof resolved === 'string')
    return error(
      `The name in ${url} is not known here: ${resolved}.`,
      `Pilots of ${sites} would look for the manager there.`,
      nameIt,
    )
  const name = bareHost(new URL(url).hostname)
  if (resolved.some(loopback) && !loopback(name))
    return warning(
      `${name} in ${url} leads to ${resolved.join(', ')} here, as machines often know their own names.`,
      `Pilots of ${sites} look the name up on their own nodes: "factory doctor SITE --probe" tells whether they find this machine.`,
      `if they do not: ${nameIt}`,
    )
  if (resolved.some(loopback))
    return error(
      `${url} leads to ${resolved.join(', ')}, which is each machine itself.`,
      `Pilots of ${sites} would look for the manager on their own nodes.`,
      listenBeyond(facts),
    )
  if (port === 0)
    return warning(
      `Pilots of ${sites} are told ${url}, at a port that is chosen when the factory starts.`,
      'A firewall can let one port pass only if it is always the same.',
      'manager.listen: 0.0.0.0:9700',
    )
  return ok(
    `Pilots of ${sites} are told ${url} (${resolved.join(', ')}); "factory doctor SITE --probe" tries it from a node.`,
  )
}

/** A relay elsewhere has nothing to dial where the manager is there for its own machine alone. */
function judgeRelays({ url, port, loopback, relayedSites }: AddressFacts): Finding[] {
  const { ok, warning } = findingsOf('relay')
  if (relayedSites.length === 0) return []
  const sites = relayedSites.map(({ name }) => name).join(', ')
  const away = relayedSites.filter(({ host }) => !loopback(host))
  if (away.length === 0 || !loopback(bareHost(new URL(url).hostname)))
    return [ok(`Pilots of ${sites} reach the manager through a relay that was started by hand.`)]
  return [
    warning(
      `The manager is at ${url}, where only a relay on this very machine can dial it.`,
      `Pilots of ${away.map(({ name }) => name).join(', ')} get no further than their relay, ${[...new Set(away.map(({ host }) => host))].join(', ')}, if that is another machine.`,
      `manager.listen: 0.0.0.0:${port || 9700}; and "factory relay --manager" with an address of this machine`,
    ),
  ]
}

function judgeTls({ tls, url, certificate }: AddressFacts): Finding[] {
  const { ok, warning } = findingsOf('tls')
  if (!tls)
    return url.startsWith('https:')
      ? [
          warning(
            `The manager speaks plain HTTP, and pilots are told ${url}.`,
            'That is right only if a proxy in between speaks TLS.',
            'manager.url: http://…, or listen beyond loopback',
          ),
        ]
      : [ok('The manager speaks plain HTTP, on this machine only.')]
  if (!certificate) return [ok('The manager will speak TLS, with a certificate made at its first start.')]
  return certificate.matches
    ? [ok('The manager speaks TLS, with a certificate of its own that names its address.')]
    : [
        warning(
          `The certificate names ${certificate.names.join(', ')}, and not the host of ${url}.`,
          'Nodes that do not see the state folder fetch the runtime with curl, which refuses it.',
          'remove manager.crt and manager.key from the state folder, once no pilots are left, and start the factory',
        ),
      ]
}
