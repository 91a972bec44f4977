import { globSync, readFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import SshConfig from 'ssh-config'
import { ConfigError } from '../../config/config-error.ts'

/** How one host is reached, after ssh_config(5). */
export type HostSettings = {
  /** As the user names it. */
  alias: string
  host: string
  port: number
  user: string
  /** Its name in the files of known hosts, where that is not its address. */
  keyAlias?: string
  knownHosts: string[]
  identities: string[]
  identitiesOnly: boolean
  certificates: string[]
  /** The agent's socket. */
  agent?: string
  /** Hosts to go through, in the order of the way. */
  jumps: string[]
  /** A command whose standard streams are the connection. */
  proxyCommand?: string
}

const USER_CONFIG = () => join(homedir(), '.ssh', 'config')
const SYSTEM_CONFIG = '/etc/ssh/ssh_config'
const DEEPEST_INCLUDE = 16

/**
 * What ssh_config says of a host, the user's file before the system's.
 * @param target `[USER@]HOST[:PORT]`, where HOST may be an alias of the configuration
 * @param file in place of the user's and the system's configuration
 * @throws {ConfigError} if a file that is named cannot be read, or a value makes no sense
 */
export function hostSettings(
  target: string,
  file?: string,
  env: Readonly<NodeJS.ProcessEnv> = process.env,
): HostSettings {
  const named = parseTarget(target)
  const text =
    file === undefined
      ? `${readConfig(USER_CONFIG(), true)}\nHost *\n${readConfig(SYSTEM_CONFIG, true)}`
      : readConfig(file, false)
  const query = { Host: named.host, ...(named.user !== undefined && { User: named.user }) }
  const computed = SshConfig.parse(text).compute(query, { ignoreCase: true })
  const all = (key: string) => [computed[key] ?? []].flat()
  const one = (key: string) => {
    const value = all(key)[0]
    return value === undefined || value.toLowerCase() === 'none' ? undefined : value
  }
  const host = (one('hostname') ?? named.host).replaceAll('%h', named.host).replaceAll('%%', '%')
  const port = named.port ?? Number(one('port') ?? 22)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new ConfigError(`ssh configuration of ${named.host}: there is no port ${one('port')}`)
  const user = named.user ?? one('user') ?? userInfo().username
  const expand = (path: string) => expandTokens(path, { host, port, user, alias: named.host }, env)
  const words = (key: string, fallback: string[]) =>
    (one(key) === undefined ? fallback : all(key)).map(expand)
  const identities = all('identityfile').filter((path) => path.toLowerCase() !== 'none')
  const agent = one('identityagent') ?? 'SSH_AUTH_SOCK'
  const socket = agent === 'SSH_AUTH_SOCK' ? env['SSH_AUTH_SOCK'] : expand(agent)
  const command = one('proxycommand')
  return {
    alias: named.host,
    host,
    port,
    user,
    ...(one('hostkeyalias') !== undefined && { keyAlias: one('hostkeyalias')! }),
    knownHosts: [
      ...words('userknownhostsfile', ['~/.ssh/known_hosts', '~/.ssh/known_hosts2']),
      ...words('globalknownhostsfile', ['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2']),
    ],
    identities: (identities.length > 0
      ? identities
      : ['~/.ssh/id_ed25519', '~/.ssh/id_ecdsa', '~/.ssh/id_rsa']
    ).map(expand),
    identitiesOnly: one('identitiesonly')?.toLowerCase() === 'yes',
    certificates: all('certificatefile').map(expand),
    ...(socket && all('identityagent')[0]?.toLowerCase() !== 'none' && { agent: socket }),
    jumps:
      one('proxyjump')
        ?.split(',')
        .map((jump) => jump.trim()) ?? [],
    ...(command !== undefined && { proxyCommand: expand(command) }),
  }
}

/** @throws {ConfigError} */
export function parseTarget(target: string): { user?: string; host: string; port?: number } {
  const match = /^(?:ssh:\/\/)?(?:([^@\s]+)@)?(?:\[([\da-fA-F:.]+)\]|([^\s@:[\]]+))(?::(\d{1,5}))?\/?$/.exec(
    target,
  )
  const host = match?.[2] ?? match?.[3]
  // A name that begins with a dash would be an option of ssh.
  if (!match || host === undefined || host.startsWith('-') || match[1]?.startsWith('-'))
    throw new ConfigError(`${JSON.stringify(target)} is no host: expected [USER@]HOST[:PORT]`)
  return {
    host,
    ...(match[1] !== undefined && { user: match[1] }),
    ...(match[4] !== undefined && { port: Number(match[4]) }),
  }
}

/** The text of a configuration with what it includes. After each, the section goes on in which it was included. */
function readConfig(file: string, optional: boolean, depth = 0): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (optional && (error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw new ConfigError(`ssh configuration ${file} cannot be read: ${(error as Error).message}`)
  }
  let section = 'Host *'
  return text
    .split('\n')
    .map((line) => {
      if (/^\s*(host|match)[\s=]/i.test(line)) section = line
      const included = /^\s*include[\s=]+(.+)$/i.exec(line)?.[1]
      if (included === undefined || depth >= DEEPEST_INCLUDE) return line
      const folder = file.startsWith('/etc/') ? dirname(file) : join(homedir(), '.ssh')
      const files = splitWords(included).flatMap((path) => globSync(resolve(folder, withHome(path))).sort())
      return [...files.map((path) => readConfig(path, true, depth + 1)), section].join('\n')
    })
    .join('\n')
}

const withHome = (path: string) => path.replace(/^~(?=\/|$)/, homedir())

/** Words of a value; those with blanks stand in quotes. */
const splitWords = (text: string) =>
  [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare!)

/** ssh_config(5), "TOKENS", as far as paths and proxy commands have them. */
function expandTokens(
  text: string,
  { host, port, user, alias }: { host: string; port: number; user: string; alias: string },
  env: Readonly<NodeJS.ProcessEnv>,
): string {
  const local = userInfo()
  const tokens: Record<string, string> = {
    '%': '%',
    d: homedir(),
    h: host,
    n: alias,
    p: String(port),
    r: user,
    u: local.username,
    i: String(local.uid),
  }
  return withHome(text)
    .replace(/\$\{(\w+)\}/g, (_, name: string) => env[name] ?? '')
    .replace(/%(.)/g, (whole, token: string) => tokens[token] ?? whole)
}
