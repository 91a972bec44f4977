import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

/**
 * Bytes that wait before a link; what is more is dropped. So much is 100 ms at 100 Mbit/s, and slow links get as much: with
 * room for a few dozen packets they would measure how TCP recovers from losses.
 */
const QUEUE = '1250k'

/**
 * How TCP shares the links: the same on every machine, whatever its default is. CUBIC, the default of most, may not be chosen in
 * a namespace everywhere; Reno may, and like it fills a link until it loses something.
 */
const CONGESTION_CONTROL = 'net.ipv4.tcp_congestion_control=reno'

/**
 * On slow connections the kernel cuts segments as small as two packets, and each passes through three namespaces: that alone
 * costs as much of this machine's processors as the nodes do. On a real node that is the network card's work.
 */
const SEGMENTS = 'net.ipv4.tcp_min_tso_segs=40'

/** Connections begin without what the kernel learnt of others before them, whose losses would slow them down. */
const NO_METRICS = 'net.ipv4.tcp_no_metrics_save=1'

/** How many addresses of peers the kernel keeps, in all namespaces together. */
const NEIGHBOURS_KEPT = '/proc/sys/net/ipv4/neigh/default/gc_thresh3'

/** Lets every node know the address of every other, which for many is more than the kernel keeps; returns how to undo it. */
function keepNeighbours(nodes: number): () => void {
  const before = readFileSync(NEIGHBOURS_KEPT, 'utf8')
  const needed = 2 * nodes * nodes
  if (Number(before) >= needed) return () => {}
  writeFileSync(NEIGHBOURS_KEPT, String(needed))
  return () => writeFileSync(NEIGHBOURS_KEPT, before)
}

/** A network of namespaces on one bridge; each link is shaped both ways. */
export type Network = Disposable & {
  /** The namespace and address of each node. */
  nodes: { namespace: string; address: string }[]
}

/**
 * Builds it. Needs root. Everything is in namespaces of its own, and gone when disposed of.
 *
 * @param rate of each link, as `tc` has it, e.g. `100mbit`.
 */
export function buildNetwork(nodes: number, rate: string): Network {
  const prefix = `fanout${process.pid}`
  const hub = `${prefix}-hub`
  const made: string[] = []
  const ip = (...args: string[]) => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const shape = (namespace: string, device: string) =>
    execFileSync('tc', [
      ...['-n', namespace, 'qdisc', 'add', 'dev', device, 'root'],
      ...['tbf', 'rate', rate, 'burst', '128k', 'limit', QUEUE],
    ])
  const namespace = (name: string) => {
    ip('netns', 'add', name)
    made.push(name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
    ip('netns', 'exec', name, 'sysctl', '--quiet', '--write', CONGESTION_CONTROL, SEGMENTS, NO_METRICS)
  }
  const forgetNeighbours = keepNeighbours(nodes)
  const remove = () => {
    for (const name of made.splice(0)) ip('netns', 'del', name)
    forgetNeighbours()
  }

  try {
    namespace(hub)
    ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge')
    ip('-n', hub, 'link', 'set', 'bridge', 'up')
    const built = Array.from({ length: nodes }, (_, index) => {
      const name = `${prefix}-${index}`
      const port = `port${index}`
      const address = `10.213.${(index >> 8) + 1}.${index & 255}`
      namespace(name)
      ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', name)
      ip('-n', hub, 'link', 'set', port, 'master', 'bridge', 'up')
      ip('-n', name, 'addr', 'add', `${address}/16`, 'dev', 'uplink')
      ip('-n', name, 'link', 'set', 'uplink', 'up')
      shape(hub, port)
      shape(name, 'uplink')
      return { namespace: name, address }
    })
    return { nodes: built, [Symbol.dispose]: remove }
  } catch (error) {
    remove()
    throw error
  }
}
