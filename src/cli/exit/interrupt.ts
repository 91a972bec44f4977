import { Interrupted } from './failure.ts'

/**
 * A signal that is aborted when the user wants the command to end (Ctrl-C, SIGTERM, a closed terminal). Asked a second
 * time, the process ends at once.
 *
 * @param hangUp whether a closed terminal counts
 */
export function onInterrupt({ hangUp = true } = {}): AbortSignal & Disposable {
  const controller = new AbortController()
  const names: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', ...(hangUp ? (['SIGHUP'] as const) : [])]
  const interrupt = () => {
    forget()
    controller.abort(new Interrupted('interrupted'))
  }
  const forget = () => names.forEach((name) => process.off(name, interrupt))
  names.forEach((name) => process.on(name, interrupt))
  return Object.assign(controller.signal, { [Symbol.dispose]: forget })
}
