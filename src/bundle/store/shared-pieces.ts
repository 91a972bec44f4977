import { once, setMaxListeners } from 'node:events'
import { isBundleComplete } from './bundle-pin.ts'
import type { StoreParts } from './store-parts.ts'
import { openStoredPieces } from './stored-pieces.ts'
import type { StoredPieces } from './stored-pieces.ts'

/** A bundle that is served is looked for this often, milliseconds: another process may have removed it, or found it damaged. */
const LOOK_AGAIN_MS = 1_000

/** The pieces that a process has to share: of the bundles that it fetches, and of complete ones that were asked for. */
export class SharedPieces {
  readonly #parts: StoreParts
  readonly #fetching = new Map<string, StoredPieces>()
  /** Of complete bundles, and when it was last looked whether they are there. */
  readonly #serving = new Map<string, { pieces: Promise<StoredPieces | undefined>; seenAt: number }>()
  readonly #begun = new EventTarget()

  constructor(parts: StoreParts) {
    this.#parts = parts
    // Every peer that is early waits for it.
    setMaxListeners(0, this.#begun)
  }

  async of(bundle: string): Promise<StoredPieces | undefined> {
    const fetched = this.#fetching.get(bundle)
    if (fetched) return fetched
    const known = this.#serving.get(bundle)
    if (known && (await this.#isStillHere(bundle, known))) return known.pieces
    const opening = { pieces: this.#openComplete(bundle), seenAt: performance.now() }
    this.#serving.set(bundle, opening)
    const opened = await opening.pieces.catch(() => undefined)
    if (!opened && this.#serving.get(bundle) === opening) this.#serving.delete(bundle)
    return opening.pieces
  }

  /** The same, waiting up to `ms` milliseconds for a fetch to begin; not while another process fetches it into this store. */
  async await(bundle: string, ms: number, signal: AbortSignal): Promise<StoredPieces | undefined> {
    const found = (await this.of(bundle)) ?? this.#fetching.get(bundle)
    if (found) return found
    // A process that shares the store fetches it: very likely the one that asks, which must not wait for itself.
    if ((await this.#parts.claims.elsewhere(bundle)).includes('fetch')) return undefined
    const within = AbortSignal.any([signal, AbortSignal.timeout(ms)])
    await once(this.#begun, bundle, { signal: within }).catch(() => {})
    return this.#fetching.get(bundle)
  }

  /** This process fetches the bundle from now on. */
  beginFetch(pieces: StoredPieces): void {
    this.#serving.delete(pieces.bundle)
    this.#fetching.set(pieces.bundle, pieces)
    this.#begun.dispatchEvent(new Event(pieces.bundle))
  }

  /** What was fetched is complete. */
  complete(pieces: StoredPieces): void {
    this.#serving.set(pieces.bundle, { pieces: Promise.resolve(pieces), seenAt: performance.now() })
  }

  endFetch(bundle: string): void {
    this.#fetching.delete(bundle)
  }

  /** A complete bundle is no longer there, or no longer whole. */
  forget(bundle: string): void {
    this.#serving.delete(bundle)
  }

  async #openComplete(bundle: string): Promise<StoredPieces | undefined> {
    const { storePaths, catalog } = this.#parts
    if (!(await isBundleComplete(this.#parts, bundle))) return undefined
    return openStoredPieces(storePaths, bundle, (await catalog.manifest(bundle))!, 'all')
  }

  async #isStillHere(bundle: string, known: { seenAt: number }): Promise<boolean> {
    if (performance.now() - known.seenAt < LOOK_AGAIN_MS) return true
    known.seenAt = performance.now()
    return await this.#parts.catalog.hasRecord(bundle)
  }
}
