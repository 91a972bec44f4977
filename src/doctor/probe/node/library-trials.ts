import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Trial } from '../../../protocol/probe.ts'

/** Longest one trial may take, milliseconds: a driver that hangs is news, too. */
const LIMIT_MS = 60_000

/** A graph of ONNX that adds a number to itself. */
const ADDITION =
  'CAg6QQoWCgF4CgF4EgF5GgZub2RlXzAiA0FkZBIFZ3JhcGhaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABARQhEKDWNvbS5taWNyb3NvZnQQAQ=='

/**
 * Tries something in a process of its own: drivers crash and hang.
 * @param what `library NAME` or `provider NAME`, as {@link runTrial} takes it
 */
export async function tryApart(what: 'library' | 'provider', name: string): Promise<Trial> {
  const args = [process.argv[1]!, what, name]
  try {
    await promisify(execFile)(process.execPath, args, { timeout: LIMIT_MS, killSignal: 'SIGKILL' })
    return { name, ok: true }
  } catch (error) {
    const { stderr = '', signal, message } = error as Error & { stderr?: string; signal?: string }
    const said = stderr.trim().split('\n').at(-1) || (signal ? `ended by ${signal}` : message)
    return { name, ok: false, said: said.slice(0, 500) }
  }
}

/** What the process of a trial does. Its last words say why it fails. */
export async function runTrial(what: string, name: string): Promise<number> {
  try {
    if (what === 'library') loadLibrary(name)
    else await runProvider(name)
    return 0
  } catch (error) {
    process.stderr.write(`${(error as Error).message.replaceAll('\n', ' ')}\n`)
    return 1
  }
}

/** Node loads a library as it loads an addon, and only then misses what addons have. */
function loadLibrary(name: string): void {
  try {
    process.dlopen({ exports: {} }, name)
  } catch (error) {
    const { message } = error as Error
    if (!/self-register/.test(message)) throw error
  }
}

async function runProvider(name: string): Promise<void> {
  const { InferenceSession, Tensor } = await import('onnxruntime-node')
  const session = await InferenceSession.create(Buffer.from(ADDITION, 'base64'), {
    executionProviders: [name],
    logSeverityLevel: 4,
  })
  const { y } = await session.run({ x: new Tensor('float32', [21], [1]) })
  if (y?.data[0] !== 42) throw new Error(`it computes 21 + 21 = ${String(y?.data[0])}`)
}

/** Providers that this build of ONNX Runtime has. */
export async function listProviders(): Promise<string[]> {
  const { listSupportedBackends } = await import('onnxruntime-node')
  return listSupportedBackends().map(({ name }) => name)
}
