import { execFileSync } from 'node:child_process'

/** A node with a link of its own to this machine. */
export interface Node {
  /** What to put before a command so that it runs there. */
  prefix: string[]
  /** Nothing gets through any more, either way, and nobody is told. */
  cut(): void
  /** As it was before {@link cut}. */
  heal(): void
}

export interface Network extends Disposable {
  /** This machine's address on it. */
  address: string
  node(): Node
}

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })

/** A small network of namespaces around a bridge. Takes root. */
export function openNetwork(): Network {
  const id = process.pid % 65_536
  const subnet = `10.${200 + (id >> 12)}.${(id >> 4) & 255}`
  const bridge = `gl${id}`
  const names: string[] = []
  ip('link', 'add', bridge, 'type', 'bridge')
  ip('addr', 'add', `${subnet}.1/24`, 'dev', bridge)
  ip('link', 'set', bridge, 'up')
  return {
    address: `${subnet}.1`,
    node() {
      const number = names.length + 2
      const name = `${bridge}n${number}`
      ip('netns', 'add', name)
      names.push(name)
      ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
      ip('link', 'set', name, 'master', bridge, 'up')
      ip('-n', name, 'addr', 'add', `${subnet}.${number}/24`, 'dev', 'eth0')
      ip('-n', name, 'link', 'set', 'eth0', 'up')
      ip('-n', name, 'link', 'set', 'lo', 'up')
      return {
        prefix: ['ip', 'netns', 'exec', name],
        // The bridge drops what comes from its port and what is for it.
        cut: () => ip('link', 'set', name, 'nomaster'),
        heal: () => ip('link', 'set', name, 'master', bridge),
      }
    },
    [Symbol.dispose]() {
      for (const name of names) {
        // A namespace goes later, and its link with it, whose name the next network may need at once.
        ip('link', 'del', name)
        ip('netns', 'del', name)
      }
      ip('link', 'del', bridge)
    },
  }
}
