/** Where the process of a context keeps what its setup returned; the same for every copy of this module. */
const PLACE = Symbol.for('gleaner.variables')
/** Where its library has put the folders of its bundles. */
const BUNDLES = Symbol.for('gleaner.bundles')
/** Where its library has put the folder of blobs, and looks for the blobs of a value. */
export const BLOBS = Symbol.for('gleaner.blobs')
const places = globalThis as {
  [PLACE]?: Record<string, unknown>
  [BUNDLES]?: Record<string, string>
  [BLOBS]?: string
}

/**
 * What the setup function of this context returned under this name. For functions of a module given to `app`; they run where
 * the context was set up.
 *
 * @example
 * export const load = async (path: string) => ({ model: await Model.open(path) })
 * export const infer = (text: string) => loadVariable<Model>('model').generate(text)
 *
 * @throws Error if there is no such variable; it names those there are
 */
export function loadVariable<T>(name: string): T {
  const variables = places[PLACE]
  if (variables && Object.hasOwn(variables, name)) return variables[name] as T
  if (!variables) {
    throw new Error(
      `there is no variable "${name}", because no setup has run here: give one by .with({ context: ['setup function', …] }), ` +
        'and call this function through the application',
    )
  }
  const known = Object.keys(variables).join(', ') || 'none'
  throw new Error(`setup returned no variable "${name}"; it returned ${known}`)
}

/**
 * The folder, where this runs, of one of the bundles that the application gave its context.
 *
 * @throws Error if there is no such bundle; it names those there are
 */
export function bundleFolder(name: string): string {
  const { [BUNDLES]: bundles = {} } = places
  if (Object.hasOwn(bundles, name)) return bundles[name]!
  const known = Object.keys(bundles).filter((key) => !key.startsWith('gleaner.'))
  throw new Error(
    `the context has no bundle "${name}"; its bundles: ${known.join(', ') || 'none'}. Give one by .with({ bundles: { … } })`,
  )
}

/** The folder in which large parts of arguments are, and those of results are left. */
export function blobFolder(): string {
  return places[BLOBS]!
}

/** Where its library takes what calls say of how far they are. */
const PROGRESS = Symbol.for('gleaner.progress')

/**
 * Says how far the call is that runs this: `progress` of its future shows it. To be called as often as one likes, since only
 * the last word is sent, about once a second. Elsewhere it does nothing.
 *
 * @param done in any unit
 * @param total all there is to do, if that is known
 */
export function reportProgress(done: number, total?: number): void {
  for (const number of total === undefined ? [done] : [done, total]) {
    if (!(number >= 0 && number < Infinity)) {
      throw new RangeError(`progress is a number from 0 on, not ${number}`)
    }
  }
  const { [PROGRESS]: report } = globalThis as { [PROGRESS]?: (done: number, total?: number) => void }
  report?.(done, total)
}

/** Keeps what setup returned for {@link loadVariable}. */
export function keepVariables(variables: Record<string, unknown>): void {
  places[PLACE] = variables
}
