import { existsSync, readFileSync } from 'node:fs'
import type { AnyAuthMethod, AuthenticationType, AuthHandlerMiddleware, ParsedKey } from 'ssh2'
import ssh2 from 'ssh2'
import type { HostSettings } from './host-settings.ts'

/** What this machine can show a server without a person, and what was left out, for the user. */
export type Credentials = {
  methods: AnyAuthMethod[]
  /** What is tried, in words. */
  tried: string[]
  leftOut: string[]
}

/** Finds keys and an agent. Nothing of them is kept beyond the connection that they open. */
export function findCredentials({
  user,
  identities,
  identitiesOnly,
  certificates,
  agent,
}: HostSettings): Credentials {
  const found: Credentials = { methods: [], tried: [], leftOut: [] }
  const keys = identities.filter((path) => existsSync(path)).map((path) => ({ path, key: readKey(path) }))
  if (agent !== undefined && existsSync(agent)) {
    const only = identitiesOnly ? identities.flatMap(readPublicKey) : undefined
    found.methods.push({ type: 'agent', username: user, agent: agentWith(agent, only) })
    found.tried.push('the keys of the agent')
  }
  for (const { path, key } of keys) {
    if (key instanceof Error) found.leftOut.push(whyNot(path, key))
    else {
      found.methods.push({ type: 'publickey', username: user, key })
      found.tried.push(path)
    }
  }
  for (const path of [...certificates, ...identities.map((path) => `${path}-cert.pub`)])
    if (existsSync(path)) found.leftOut.push(`${path} is a certificate, which only OpenSSH itself can show`)
  return found
}

const whyNot = (path: string, error: Error) =>
  /encrypted|passphrase/i.test(error.message)
    ? `${path} has a passphrase: give it to an agent (ssh-add ${path})`
    : `${path} cannot be read: ${error.message}`

function readKey(path: string): ParsedKey | Error {
  try {
    const parsed = ssh2.utils.parseKey(readFileSync(path))
    return (Array.isArray(parsed) ? parsed[0] : parsed) as ParsedKey | Error
  } catch (error) {
    return error as Error
  }
}

/** The public key beside a private one, or of it, as a blob. */
function readPublicKey(path: string): Buffer[] {
  const key = existsSync(`${path}.pub`)
    ? readKey(`${path}.pub`)
    : existsSync(path)
      ? readKey(path)
      : undefined
  return key === undefined || key instanceof Error ? [] : [key.getPublicSSH()]
}

/** An agent, as far as it has the keys that are named. */
function agentWith(socket: string, only: readonly Buffer[] | undefined) {
  const agent = ssh2.createAgent(socket)
  if (only === undefined) return agent
  const list = agent.getIdentities.bind(agent)
  agent.getIdentities = (callback) =>
    list((error, keys) =>
      callback(
        error,
        keys?.filter((key) => {
          const blob = key instanceof Buffer ? key : blobOf(key)
          return blob !== undefined && only.some((one) => one.equals(blob))
        }),
      ),
    )
  return agent
}

function blobOf(key: unknown): Buffer | undefined {
  const { getPublicSSH } = key as Partial<ParsedKey>
  return getPublicSSH?.call(key)
}

/**
 * Tries what there is, one after the other, as far as the server wants it.
 * @param onQuestion called when the server asks something that only a person can answer
 * @param onOffer hears what the server takes
 */
export function authHandler(
  { methods }: Credentials,
  user: string,
  onQuestion: (question: string) => void,
  onOffer: (methods: readonly AuthenticationType[]) => void,
): AuthHandlerMiddleware {
  const left: AnyAuthMethod[] = [
    { type: 'none', username: user },
    ...methods,
    {
      type: 'keyboard-interactive',
      username: user,
      prompt(_name, instructions, _language, prompts, finish) {
        // A second factor that asks nothing here, but on the person's telephone.
        if (prompts.length === 0) finish([])
        else onQuestion(prompts[0]?.prompt.trim() || instructions.trim() || 'something')
      },
    },
  ]
  return (offered, _partial, next) => {
    const wanted = offered as AuthenticationType[] | null
    if (wanted) onOffer(wanted)
    const kind = ({ type }: AnyAuthMethod) => (type === 'agent' ? 'publickey' : type)
    while (left.length > 0) {
      const method = left.shift()!
      if (wanted === null || wanted.includes(kind(method))) return next(method)
    }
    // The library takes `false` for: there is nothing more.
    next(false as unknown as AnyAuthMethod)
  }
}
