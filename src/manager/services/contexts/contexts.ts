import { randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { BundleError, errnoOf } from '../../../bundle/format/errors.ts'
import { createBundle, isTarName } from '../../../bundle/create/create-bundle.ts'
import { canonicalJson, sha256 } from '../../../bundle/format/manifest.ts'
import type { Store } from '../../../bundle/store/store.ts'
import type { Manifest } from '../../../protocol/bundle.ts'
import { type ContextSpec, LibrarySpec } from '../../../protocol/contexts/context.ts'
import { bundlesOf } from '../../../protocol/contexts/library-traits.ts'
import { readContextYaml } from './context-yaml.ts'
import type { TaskError } from '../../../protocol/task.ts'
import type { ContextsResponse, UploadContextRequest } from '../../../protocol/client.ts'
import type { BlobStore } from '../blob-store.ts'
import type { Dispatcher } from '../dispatcher.ts'
import { RequestError, busy, conflict, invalid, notFound } from '../../http/api-errors.ts'
import { addContext, forgetName, knownContexts, temporaryContexts } from '../../ledger/context-records.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import { writeUpload } from './write-upload.ts'

/** Largest context.yaml, bytes. */
const FILE_MAX = 1 << 20

/** The contexts that tasks can be run in, by name and identity. */
export class Contexts {
  readonly #ledger: Ledger
  readonly #store: Store
  readonly #dispatcher: Dispatcher
  readonly #specs = new Map<string, ContextSpec>()
  readonly #names: Map<string, string>
  readonly #problems = new Map<string, TaskError>()
  /** When each was last asked for, or seen to be needed by a job. */
  readonly #usedAt = new Map<string, number>()
  /** Registrations under way: what they find in the store must stay there. */
  #registering = 0
  /** By the path that was asked for. */
  readonly #packing = new Map<string, ContextsResponse['packing'][number]>()
  /** Those of the configuration are not all registered yet. */
  #someToCome = false
  #sweeping: Promise<void> | undefined
  /** Called with a context that got its name, or lost it. */
  onChange: (change: 'added' | 'dropped', context: ContextSpec) => void = () => {}

  constructor(ledger: Ledger, store: Store, dispatcher: Dispatcher) {
    this.#ledger = ledger
    this.#store = store
    this.#dispatcher = dispatcher
    const { specs, names } = knownContexts(ledger)
    for (const spec of specs) this.#specs.set(spec.id, spec)
    this.#names = names
    dispatcher.on('context-broken', (context, error) => this.#problems.set(context, error))
  }

  /** Contexts that have a name now. */
  list(): ContextSpec[] {
    return [...this.#names.values()].map((id) => this.byId(id))
  }

  find(id: string): ContextSpec | undefined {
    return this.#specs.get(id)
  }

  /** Whether some context is made of this bundle. */
  need(bundle: string): boolean {
    return this.#specs.values().some(({ bundles }) => Object.values(bundles).includes(bundle))
  }

  byId(id: string): ContextSpec {
    const spec = this.find(id)
    if (!spec) throw notFound(`there is no context ${id}`)
    return spec
  }

  /** @throws {RequestError} 404 that names those there are; 429 while it may be one that is to come */
  named(name: string): ContextSpec {
    const id = this.#names.get(name)
    if (id !== undefined) {
      this.#usedAt.set(id, this.#dispatcher.now)
      return this.byId(id)
    }
    if (this.#someToCome)
      throw busy(`context "${name}" is not known yet: those of the configuration are being registered`)
    const known = [...this.#names.keys()].join(', ') || 'none'
    throw notFound(
      `there is no context "${name}" (known: ${known}); add one with \`factory context add PATH\``,
    )
  }

  /** Registers those of the configuration, one after the other. Returns their names. */
  async registerAll(paths: string[]): Promise<string[]> {
    this.#someToCome = paths.length > 0
    const names: string[] = []
    for (const path of paths) names.push((await this.register(path)).name)
    this.#someToCome = false
    return names
  }

  /** How far those are that are being added. */
  get packing(): ContextsResponse['packing'] {
    return [...this.#packing.values()]
  }

  /** The function asked for, or the context's first. */
  functionOf(context: ContextSpec, name: string | undefined): string {
    const names = Object.keys(context.spec.functions)
    const chosen = name ?? names[0]!
    if (names.includes(chosen)) return chosen
    throw notFound(`context "${context.name}" has no function "${chosen}"; it has ${names.join(', ')}`)
  }

  /** @throws {RequestError} 409 if a bundle that the context is made of was removed: no worker could ever load it */
  async requireFiles({ name, bundles }: ContextSpec): Promise<void> {
    for (const [key, bundle] of Object.entries(bundles)) {
      if (await this.#store.manifest(bundle)) continue
      throw conflict(
        `context "${name}": its bundle ${key} was removed; add it again with \`factory context add PATH\``,
      )
    }
  }

  /** Why nothing can run in the context, if its setup failed everywhere it was tried. */
  problemOf(id: string): string | undefined {
    const error = this.#problems.get(id)
    if (!error || !this.#dispatcher.view.context(id)?.broken) return undefined
    return `context "${this.byId(id).name}" cannot be set up: ${error.message}`
  }

  /** Why nothing may run in the context: it failed before, and is tried once more because a user asks for it again. */
  doubtOf(id: string): string | undefined {
    const error = this.#problems.get(id)
    const state = this.#dispatcher.view.context(id)
    if (!error || !state || state.broken || state.everReady) return undefined
    return `context "${this.byId(id).name}" could not be set up before (${error.message}): trying once more`
  }

  /** Has every worker that has nothing else to fetch bring the context's files to its disk, until it is dropped. */
  warm(name: string): ContextSpec {
    const context = this.named(name)
    this.#dispatcher.warmAhead(context.id)
    return context
  }

  /**
   * Has every worker let go of the context, in memory and on disk, and takes its name from it. Jobs that were made in it still
   * know what it was.
   * @throws {RequestError} 409 while a job needs it
   */
  async drop(name: string): Promise<ContextSpec> {
    const context = this.named(name)
    const jobs = this.#dispatcher.view.context(context.id)?.jobs ?? []
    if (jobs.length > 0) {
      const numbers = jobs.join(', ')
      throw conflict(
        `context "${name}" is needed by job ${numbers}: wait for it, or cancel it first, as --cancel of "factory context drop" does`,
      )
    }
    this.#names.delete(name)
    await forgetName(this.#ledger, name)
    this.#dispatcher.dropEverywhere(context.id)
    this.onChange('dropped', context)
    return context
  }

  /** Removes contexts that need not stay, such as those of modules that have changed since, and the bundles of no other. */
  async sweep(): Promise<void> {
    if (this.#registering > 0) return
    await (this.#sweeping ??= this.#removePast().finally(() => (this.#sweeping = undefined)))
  }

  async #removePast(): Promise<void> {
    const now = this.#dispatcher.now
    for (const { name, id, keepMs, usedAt } of temporaryContexts(this.#ledger)) {
      if (this.#isNeeded(id)) this.#usedAt.set(id, now)
      if (now - Math.max(usedAt, this.#usedAt.get(id) ?? 0) < keepMs) continue
      // Its name goes first, so that no client is told of it any more.
      this.#names.delete(name)
      await forgetName(this.#ledger, name)
      this.#dispatcher.dropEverywhere(id)
      this.onChange('dropped', this.byId(id))
      await this.#removeBundles(this.byId(id))
    }
  }

  #isNeeded(id: string): boolean {
    return (this.#dispatcher.view.context(id)?.jobs ?? []).length > 0
  }

  /** Those of a context that no other needs, and that have no name. */
  async #removeBundles({ bundles }: ContextSpec): Promise<void> {
    const alive = [...this.#specs.values()].filter(
      ({ id, name }) => this.#names.get(name) === id || this.#isNeeded(id),
    )
    const kept = new Set(alive.flatMap((context) => Object.values(context.bundles)))
    for (const bundle of (await this.#store.names()).values()) kept.add(bundle)
    for (const bundle of Object.values(bundles)) {
      if (kept.has(bundle)) continue
      await this.#store.remove(bundle).catch((error: unknown) => {
        if (!(error instanceof BundleError)) throw error
      })
    }
  }

  /**
   * Registers the context that a context.yaml (or the folder with one) describes, and makes its bundles.
   * @param keepMs it goes when no job has needed it for so long; absent: it stays
   * @throws {RequestError} 400 that names the file and what is wrong in it
   */
  async register(path: string, keepMs?: number, signal?: AbortSignal): Promise<ContextSpec> {
    this.#registering++
    try {
      await this.#sweeping
      return await this.#register(path, keepMs, signal)
    } finally {
      this.#registering--
      this.#packing.delete(path)
    }
  }

  /**
   * The same for a context that came as blobs, which must all be here.
   * @throws {RequestError} 400, or 409 for a blob that is not here
   */
  async upload(request: UploadContextRequest, blobs: BlobStore): Promise<ContextSpec> {
    const refs = Object.values(request.files).flatMap((files) => files.flatMap(({ blob }) => blob ?? []))
    blobs.assertAll(refs, 'the context')
    const folder = join(this.#store.temporary, randomUUID())
    await using _laidOut = await writeUpload(folder, blobs.folder, request)
    return await this.register(folder, request.keepMs).catch((error: unknown) => {
      // It never had such a file as far as its user knows.
      if (!(error instanceof RequestError)) throw error
      const message = error.message.replace(join(folder, 'context.yaml'), 'the context')
      throw new RequestError(error.status, error.code, message)
    })
  }

  /** What a name stood for so far: first what it stands for now. */
  #formerOf(name: string): ContextSpec[] {
    const now = this.#names.get(name)
    return [...this.#specs.values()]
      .filter((context) => context.name === name)
      .sort((a, b) => Number(b.id === now) - Number(a.id === now))
  }

  async #manifestsOf(bundles: readonly string[]): Promise<Manifest[]> {
    const found = await Promise.all([...new Set(bundles)].map((bundle) => this.#store.manifest(bundle)))
    return found.filter((manifest) => manifest !== undefined)
  }

  async #register(path: string, keepMs?: number, signal?: AbortSignal): Promise<ContextSpec> {
    const file = await findFile(resolve(path))
    const { head, spec } = await readContextYaml(file)
    const { name, bundles: folders } = head
    const bundles: Record<string, string> = {}
    const former = this.#formerOf(name)
    for (const [key, folder] of Object.entries(folders)) {
      const source = resolve(dirname(file), folder)
      const isTar = isTarName(source) && (await isFile(source))
      if (!isTar && !(await isFolder(source)))
        throw invalid(
          `${file}: bundles.${key}: there is no folder, nor a tar file, ${source} on the factory's machine`,
        )
      const options = {
        store: this.#store,
        paths: [source],
        kind: isTar ? ('tarball' as const) : ('files' as const),
        onProgress: (done: number, total: number) =>
          this.#packing.set(path, { path, bundle: key, done, total }),
        like: await this.#manifestsOf(former.flatMap((context) => context.bundles[key] ?? [])),
        ...(signal ? { signal } : {}),
      }
      const { id } = await createBundle(options).catch((error: unknown) => {
        // What the user's files are like is the user's to know.
        if (!(error instanceof BundleError) && errnoOf(error) === undefined) throw error
        const message = `${file}: bundles.${key}: ${(error as Error).message}`
        const isDisk =
          error instanceof BundleError &&
          ['GLEANER_BUNDLE_DISK', 'GLEANER_BUNDLE_NO_ROOM'].includes(error.code)
        throw isDisk ? new RequestError(507, 'GLEANER_NO_SPACE', message) : invalid(message)
      })
      bundles[key] = id
    }
    const wanted = bundlesOf(spec).find((bundle) => !Object.hasOwn(bundles, bundle))
    if (wanted !== undefined)
      throw invalid(`${file}: setup names the bundle "${wanted}", but bundles has none`)
    // A version that knows more settings writes the same context differently.
    const same = former.find(
      (context) =>
        canonicalJson([context.bundles, filledIn(context.spec)]) === canonicalJson([bundles, spec]),
    )
    const id = same?.id ?? sha256(JSON.stringify({ name, bundles, spec }))
    const context = { id, name, bundles, spec }
    await addContext(this.#ledger, context, this.#dispatcher.now, keepMs)
    this.#specs.set(id, context)
    const isNew = this.#names.get(name) !== id
    this.#names.set(name, id)
    if (isNew) this.onChange('added', context)
    return context
  }
}

/** A description as this version would have it. */
const filledIn = (spec: LibrarySpec) => LibrarySpec.safeParse(spec).data

async function findFile(path: string): Promise<string> {
  const file = (await isFolder(path)) ? join(path, 'context.yaml') : path
  const found = await stat(file).catch(() => undefined)
  if (!found?.isFile()) throw invalid(`${file}: no such file; a context is described by a context.yaml`)
  if (found.size > FILE_MAX) throw invalid(`${file}: too large for a context.yaml`)
  return file
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false
}
