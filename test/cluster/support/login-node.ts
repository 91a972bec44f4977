import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { cuttingProxy, type CuttingProxy } from '../../factory/transports/ssh/cutting-proxy.ts'
import { testbed } from './testbed.ts'

const Env = z.object({ sshKey: z.string(), sshKnownHosts: z.string(), sshPort: z.int() })
const { sshKey, sshKnownHosts, sshPort } = Env.parse(
  JSON.parse(execFileSync(join(testbed.project, 'scripts/testbed'), ['env'], { encoding: 'utf8' })),
)

type Address = { host: string; port: number }

/** The sshd of the testbed, on this machine. */
export const loginNode: Address = { host: '127.0.0.1', port: sshPort }

/** Writes an ssh_config by which the researcher, inside, reaches the login node, and gives its path. */
export function sshConfig(folder: string, { host, port }: Address): string {
  const own = (name: string) => join(folder, name)
  copyFileSync(sshKey, own('key'))
  const [, ...hostKey] = readFileSync(sshKnownHosts, 'utf8').split(' ')
  writeFileSync(own('known_hosts'), `[${host}]:${port} ${hostKey.join(' ')}`)
  const lines = [
    'Host login',
    `HostName ${host}`,
    `Port ${port}`,
    'User researcher',
    `IdentityFile ${own('key')}`,
    'IdentityAgent none',
    `UserKnownHostsFile ${own('known_hosts')}`,
  ]
  writeFileSync(own('config'), `${lines.join('\n')}\n`)
  for (const name of ['key', 'known_hosts', 'config']) {
    chmodSync(own(name), 0o600)
    chownSync(own(name), testbed.uid, testbed.gid)
  }
  return own('config')
}

/** A machine elsewhere. */
export interface Workstation extends AsyncDisposable {
  /** Puts a command there. */
  prefix: string[]
  /** Its one way to the login node, which can be cut, and counts bytes. */
  link: CuttingProxy
  /** Where it dials the login node. */
  login: Address
}

const HERE = '10.213.0.1'

/** A network namespace that reaches the login node's sshd and nothing else, and that nothing reaches. */
export async function workstation(): Promise<Workstation> {
  const name = `gl${process.pid}`
  const ip = (...args: string[]) => void execFileSync('ip', args)
  ip('netns', 'add', name)
  try {
    ip('-n', name, 'link', 'set', 'lo', 'up')
    ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'outside', 'netns', name)
    ip('addr', 'add', `${HERE}/30`, 'dev', name)
    ip('link', 'set', name, 'up')
    ip('-n', name, 'addr', 'add', '10.213.0.2/30', 'dev', 'outside')
    ip('-n', name, 'link', 'set', 'outside', 'up')
    const link = await cuttingProxy(sshPort, HERE)
    return {
      prefix: ['ip', 'netns', 'exec', name],
      link,
      login: { host: HERE, port: link.port },
      async [Symbol.asyncDispose]() {
        await link[Symbol.asyncDispose]()
        ip('netns', 'del', name)
      },
    }
  } catch (error) {
    ip('netns', 'del', name)
    throw error
  }
}
