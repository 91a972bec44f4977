import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { build } from 'esbuild'
import type { Answer, Order } from './messages.ts'

/** Longest wait for a node's answer, milliseconds. */
const ANSWER_MS = 120_000

/** A node's process, seen from the benchmark. */
export type NodeProcess = {
  send(order: Order): void
  /** The next answer of that type from now on. @throws when the node fails, dies, or takes too long. */
  answer<T extends Answer['type']>(type: T): Promise<Extract<Answer, { type: T }>>
  onProgress(listener: (share: number) => void): void
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
}

/** Makes one file of a node's program, as pilots boot one: it starts sooner, and has less for a processor to keep at hand. */
async function buildProgram(outfile: string): Promise<void> {
  const banner = `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`
  await build({
    entryPoints: [path.join(import.meta.dirname, 'node.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    // Modules that were CommonJS call `require` for what is built in.
    banner: { js: banner },
    logLevel: 'error',
  })
}

/** Starts a node, in a network namespace or here. It fails when the signal fires. */
function startNode(program: string, namespace: string | undefined, signal: AbortSignal): NodeProcess {
  const command = [process.execPath, program]
  const [runner, ...args] = namespace === undefined ? command : ['ip', 'netns', 'exec', namespace, ...command]
  const child = spawn(runner!, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Of processors that many nodes share, one has no use for several threads that read and write files.
    env: namespace === undefined ? process.env : { ...process.env, UV_THREADPOOL_SIZE: '1' },
  })
  const gone = once(child, 'exit')
  const listeners = new Set<(answer: Answer) => void>()
  const tell = (answer: Answer) => {
    for (const listener of [...listeners]) listener(answer)
  }
  child.on('message', tell)
  const fail = (message: string) => tell({ type: 'failed', message })
  child.on('error', (error) => fail(String(error)))
  child.on('exit', () => fail('a node died'))
  signal.addEventListener('abort', () => fail('interrupted'))

  return {
    send: (order) => child.send(order),
    answer: (type) =>
      new Promise((resolve, reject) => {
        const settle = (action: () => void) => {
          clearTimeout(timer)
          listeners.delete(listener)
          action()
        }
        const listener = (answer: Answer) => {
          if (answer.type === type) settle(() => resolve(answer as never))
          else if (answer.type === 'failed') settle(() => reject(new Error(answer.message)))
        }
        const timer = setTimeout(
          () => settle(() => reject(new Error(`no node answered "${type}" in time`))),
          ANSWER_MS,
        )
        listeners.add(listener)
      }),
    onProgress: (listener) =>
      void listeners.add((answer) => answer.type === 'progress' && listener(answer.share)),
    async kill() {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await gone
    },
  }
}

/** A manager and workers with cold stores; gone, with all their files, when disposed of. */
export type Cluster = AsyncDisposable & {
  manager: NodeProcess
  workers: NodeProcess[]
  /** Where the manager, and each worker, serves pieces. */
  managerUrl: string
  urls: string[]
}

/**
 * Starts the manager at the first place and workers at the others.
 *
 * @param parent folder for their files.
 * @param corrupt whether a worker spoils every piece that it gives away.
 * @param signal ends all that waits for a node.
 */
export async function startCluster(
  storePaths: { namespace?: string; address: string }[],
  parent: string,
  corrupt: (worker: number) => boolean,
  signal: AbortSignal,
): Promise<Cluster> {
  const folder = await mkdtemp(path.join(parent, 'fanout-'))
  const program = path.join(folder, 'node.mjs')
  const nodes: NodeProcess[] = []
  const close = async () => {
    await Promise.all(nodes.map((node) => node.kill()))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await buildProgram(program)
    signal.throwIfAborted()
    for (const { namespace } of storePaths) nodes.push(startNode(program, namespace, signal))
    const [managerUrl, ...urls] = await Promise.all(
      nodes.map(async (node, index) => {
        const name = index === 0 ? 'manager' : workerName(index - 1)
        const opened = node.answer('opened')
        node.send({
          type: 'open',
          name,
          folder: path.join(folder, name),
          address: storePaths[index]!.address,
          corrupt: index > 0 && corrupt(index - 1),
        })
        return (await opened).url
      }),
    )
    const [manager, ...workers] = nodes
    return { manager: manager!, workers, managerUrl: managerUrl!, urls, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

export const workerName = (worker: number) => `w${worker + 1}`

/** Makes a bundle on the manager and lets the workers know its key. Returns the bundle's id. */
export async function createBundleOn({ manager, workers }: Cluster, bytes: number): Promise<string> {
  const created = manager.answer('created')
  manager.send({ type: 'create', bytes })
  const { bundle, key } = await created
  await Promise.all(
    workers.map((worker) => {
      const trusted = worker.answer('trusted')
      worker.send({ type: 'trust', key })
      return trusted
    }),
  )
  return bundle
}
