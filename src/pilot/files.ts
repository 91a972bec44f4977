import type { Logger } from 'pino'
import { type FetchReport, fetchBundle } from '../bundle/fetch.ts'
import type { Held, Store } from '../bundle/store.ts'
import { ContextSpec } from '../protocol/context.ts'
import { SourcesResponse } from '../protocol/sources.ts'
import type { Link } from './link.ts'
import type { FetchContext } from './shelf.ts'

export interface FilesOptions {
  link: Link
  store: Store
  /** This worker's id. */
  worker: string
  /** A store's folder on a shared filesystem. */
  shared?: string | undefined
  log: Logger
}

/** How contexts come here: the description from the manager, and its bundles from whoever is nearest. */
export function fetchContexts({ link, store, worker, shared, log }: FilesOptions): FetchContext {
  const fetchOne = (
    bundle: string,
    signal: AbortSignal,
    onProgress: (held: number, total: number) => void,
  ): Promise<FetchReport> =>
    fetchBundle({
      bundle,
      store,
      connect: link.connect,
      log,
      signal,
      onProgress,
      ...(shared !== undefined && { shared }),
      sources: async (request) => {
        const path = `/v1/workers/${worker}/sources`
        const body = JSON.stringify(request)
        const { sources } = await link.call({ method: 'POST', path, body, answer: SourcesResponse, signal })
        return sources
      },
    })

  return async (context, onProgress, signal) => {
    const spec = await link.call({
      method: 'GET',
      path: `/v1/contexts/${context}`,
      answer: ContextSpec.refine(({ id }) => id === context, 'it is of another context'),
      signal,
    })
    const held = new Map<string, Held>()
    const release = async () => {
      for (const files of held.values()) await files[Symbol.asyncDispose]()
    }
    const progress = new Map<string, { bytes: number; total: number }>()
    try {
      await Promise.all(
        Object.entries(spec.bundles).map(async ([name, bundle]) => {
          const tell = (bytes: number, total: number) => {
            progress.set(name, { bytes, total })
            const all = [...progress.values()]
            onProgress(sum(all.map((one) => one.bytes)), sum(all.map((one) => one.total)))
          }
          held.set(name, await obtain(store, bundle, () => fetchOne(bundle, signal, tell), signal))
        }),
      )
    } catch (error) {
      await release()
      throw error
    }
    const folders = Object.fromEntries([...held].map(([name, { folder }]) => [name, folder]))
    return { spec, folders, [Symbol.asyncDispose]: release }
  }
}

/** Holds a bundle, and fetches it before if need be. Between the two another process may have made room. */
async function obtain(
  store: Store,
  bundle: string,
  fetch: () => Promise<FetchReport>,
  signal: AbortSignal,
): Promise<Held> {
  for (;;) {
    const held = await store.hold(bundle, signal)
    if (held) return held
    await fetch()
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
