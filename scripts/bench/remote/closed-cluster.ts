import { execFileSync } from 'node:child_process'

/** A cluster of network namespaces: a login node that this machine reaches, and nodes that reach the login node and each other alone. */
export interface ClosedCluster extends Disposable {
  /** Of this machine, as the login node sees it, and of the login node in either network. */
  here: string
  login: string
  loginInside: string
  /** Puts a command on the login node. */
  onLogin: string[]
  /** Namespaces of the nodes are called by this and their number, from 0 on. */
  nodePrefix: string
}

const ip = (...args: string[]) => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })

/**
 * On slow connections the kernel cuts segments as small as two packets, and each passes through three namespaces. On a real node that is
 * the network card's work.
 */
const SEGMENTS = 'net.ipv4.tcp_min_tso_segs=40'

/**
 * Builds it. Needs root. There is no route between this machine and the nodes, and the login node forwards nothing.
 * @param rate of each node's link, as `tc` has it
 */
export function buildClosedCluster(nodes: number, rate: string): ClosedCluster {
  const id = `gr${process.pid % 100_000}`
  const [login, nodePrefix] = [`${id}-login`, `${id}-n`]
  const made: string[] = []
  const namespace = (name: string) => {
    ip('netns', 'add', name)
    made.push(name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
    execFileSync('ip', ['netns', 'exec', name, 'sysctl', '-qw', SEGMENTS])
  }
  const shape = (name: string, device: string) =>
    execFileSync('tc', ['-n', name, 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', rate, 'burst', '512k', 'latency', '50ms']) // prettier-ignore
  const remove = () => {
    for (const name of made.splice(0)) ip('netns', 'del', name)
  }
  try {
    namespace(login)
    execFileSync('ip', ['netns', 'exec', login, 'sysctl', '-qw', 'net.ipv4.ip_forward=0'])
    ip('link', 'add', id, 'type', 'veth', 'peer', 'name', 'outside', 'netns', login)
    ip('addr', 'add', '10.214.0.1/24', 'dev', id)
    ip('link', 'set', id, 'up')
    ip('-n', login, 'addr', 'add', '10.214.0.2/24', 'dev', 'outside')
    ip('-n', login, 'link', 'set', 'outside', 'up')
    ip('-n', login, 'link', 'add', 'inside', 'type', 'bridge')
    ip('-n', login, 'addr', 'add', '10.215.0.1/16', 'dev', 'inside')
    ip('-n', login, 'link', 'set', 'inside', 'up')
    for (let index = 0; index < nodes; index++) {
      const name = `${nodePrefix}${index}`
      namespace(name)
      ip('-n', login, 'link', 'add', `port${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
      ip('-n', login, 'link', 'set', `port${index}`, 'master', 'inside', 'up')
      ip('-n', name, 'addr', 'add', `10.215.1.${index + 1}/16`, 'dev', 'eth0')
      ip('-n', name, 'link', 'set', 'eth0', 'up')
      shape(login, `port${index}`)
      shape(name, 'eth0')
    }
  } catch (error) {
    remove()
    throw error
  }
  return {
    here: '10.214.0.1',
    login: '10.214.0.2',
    loginInside: '10.215.0.1',
    onLogin: ['ip', 'netns', 'exec', login],
    nodePrefix,
    [Symbol.dispose]: remove,
  }
}
