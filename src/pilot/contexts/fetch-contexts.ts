import { rm } from 'node:fs/promises'
import type { Logger } from 'pino'
import { BundleError } from '../../bundle/format/errors.ts'
import { type FetchReport, fetchBundle } from '../../bundle/download/fetch-bundle.ts'
import { totalBytes } from '../../bundle/format/manifest.ts'
import { type PinnedBundle, openStore, type Store } from '../../bundle/store/store.ts'
import type { ContextMode, ContextSpec } from '../../protocol/contexts/context.ts'
import { workerRoutes } from '../../protocol/routes/worker-routes.ts'
import { PilotError } from '../exit-codes.ts'
import type { ManagerClient } from '../uplink/manager-client.ts'
import type { FetchContext } from './held-contexts.ts'
import type { BundleFolders } from '../library/library-supervisor.ts'

export interface FetchContextsOptions {
  client: ManagerClient
  store: Store
  /** This worker's id. */
  worker: string
  /** A store's folder on a shared filesystem. */
  shared?: string | undefined
  mode: ContextMode
  log: Logger
}

type OnProgress = (bytesHeld: number, bytesTotal: number) => void

/** How contexts come here: the description from the manager, and its bundles from the nearest sources. */
export function fetchContexts({
  client,
  store,
  worker,
  shared,
  mode,
  log,
}: FetchContextsOptions): FetchContext {
  const describe = async (context: string, signal: AbortSignal) => {
    const spec = await client.call(workerRoutes.context, { params: { context }, signal })
    if (spec.id === context) return spec
    throw new PilotError(
      'GLEANER_PROTOCOL',
      `the manager described the context ${spec.id} in place of ${context}`,
    )
  }

  const fetchTo =
    (store: Store): FetchBundle =>
    (bundle, signal, onProgress) =>
      fetchBundle({
        bundle,
        store,
        connect: client.connect,
        log,
        signal,
        onProgress,
        ...(shared !== undefined && { shared }),
        sources: async (request) => {
          const asked = { params: { worker }, body: request, signal }
          const { sources } = await client.call(workerRoutes.sources, asked)
          // By which address the manager is reached from here, only we know: a proxy may stand between.
          const own = sources.map((each) =>
            each.kind === 'manager' ? { ...each, url: client.origin } : each,
          )
          // Where nothing outlives a task, peers have nothing to give.
          return mode === 'none' ? own.filter(({ kind, seeds }) => kind === 'manager' || seeds) : own
        },
      })

  if (mode !== 'none') {
    return async (context, onProgress, signal) => {
      const spec = await describe(context, signal)
      const held = await holdAll(spec, store, fetchTo(store), onProgress, signal)
      return { spec, ...held, bytes: await sizeOf(spec, store), discard: () => removeAll(spec, store) }
    }
  }
  return async (context, _onProgress, signal) => {
    const spec = await describe(context, signal)
    const bring = async (folder: string, signal: AbortSignal) => {
      const own = await openStore({ folder, log })
      const drop = async () => {
        await own[Symbol.asyncDispose]()
        await rm(folder, { recursive: true, force: true })
      }
      try {
        const { folders } = await holdAll(spec, own, fetchTo(own), () => {}, signal)
        return { folders, [Symbol.asyncDispose]: drop }
      } catch (error) {
        await drop()
        throw error
      }
    }
    const nothing = () => Promise.resolve()
    return { spec, folders: {}, bytes: 0, bring, discard: nothing, [Symbol.asyncDispose]: nothing }
  }
}

type FetchBundle = (bundle: string, signal: AbortSignal, onProgress: OnProgress) => Promise<FetchReport>

/** Holds all bundles of a context in a store, and fetches those that are not there. */
async function holdAll(
  { bundles }: ContextSpec,
  store: Store,
  fetch: FetchBundle,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<{ folders: BundleFolders } & AsyncDisposable> {
  const held = new Map<string, PinnedBundle>()
  const release = async () => {
    for (const files of held.values()) await files[Symbol.asyncDispose]()
  }
  const progress = new Map<string, { bytes: number; total: number }>()
  try {
    await Promise.all(
      Object.entries(bundles).map(async ([name, bundle]) => {
        const tell = (bytes: number, total: number) => {
          progress.set(name, { bytes, total })
          const all = [...progress.values()]
          onProgress(sum(all.map((one) => one.bytes)), sum(all.map((one) => one.total)))
        }
        const files = await obtain(store, bundle, () => fetch(bundle, signal, tell), signal).catch(
          (error: unknown) => {
            // Its identity says nothing to the context's author.
            if (error instanceof BundleError) error.message = error.message.replaceAll(bundle, name)
            throw error
          },
        )
        held.set(name, files)
      }),
    )
  } catch (error) {
    await release()
    throw error
  }
  const folders = Object.fromEntries([...held].map(([name, { folder }]) => [name, folder]))
  return { folders, [Symbol.asyncDispose]: release }
}

/** Bytes of a context's files without those of environments, of which little is ever loaded. */
async function sizeOf({ bundles }: ContextSpec, store: Store): Promise<number> {
  const manifests = await Promise.all(Object.values(bundles).map((bundle) => store.manifest(bundle)))
  return sum(manifests.map((manifest) => (manifest?.kind === 'files' ? totalBytes(manifest) : 0)))
}

/** Removes the bundles of a context, but for those that another context or process uses. */
async function removeAll({ bundles }: ContextSpec, store: Store): Promise<void> {
  for (const bundle of Object.values(bundles)) {
    await store.remove(bundle).catch((error: unknown) => {
      if (!(error instanceof BundleError)) throw error
    })
  }
}

/** Holds a bundle, and fetches it before if need be. Between the two another process may have made room. */
async function obtain(
  store: Store,
  bundle: string,
  fetch: () => Promise<FetchReport>,
  signal: AbortSignal,
): Promise<PinnedBundle> {
  for (;;) {
    const held = await store.hold(bundle, signal)
    if (held) return held
    await fetch()
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
