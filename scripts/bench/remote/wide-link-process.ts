import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { wideLink } from './wide-link.ts'

/** What {@link wideLink} takes. */
export type LinkSettings = {
  to: { host: string; port: number }
  delay: number
  rate: number
  at: { host: string; port: number }
}

/** A wide link in a process of its own, so that what is measured has the rest of the processors' time to itself. */
export interface LinkProcess extends AsyncDisposable {
  port: number
  /** Bytes that went to the far end so far, and that came from there. */
  carried(): Promise<{ out: number; back: number }>
}

export async function startLink(settings: LinkSettings): Promise<LinkProcess> {
  const child = fork(fileURLToPath(import.meta.url), ['carry'])
  const ask = async (what: unknown) => {
    const answered = once(child, 'message')
    child.send(what as object)
    return ((await answered) as [unknown])[0]
  }
  const { port } = (await ask(settings)) as { port: number }
  return {
    port,
    carried: async () => (await ask({})) as { out: number; back: number },
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}

if (process.argv[2] === 'carry') {
  const [settings] = (await once(process, 'message')) as [LinkSettings]
  const { to, delay, rate, at } = settings
  const link = await wideLink(to, delay, rate, at)
  process.on('message', () => process.send!(link.carried))
  process.on('disconnect', () => process.exit())
  process.send!({ port: link.port })
}
