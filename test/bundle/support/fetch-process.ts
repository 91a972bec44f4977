import { BundleError } from '../../../src/bundle/format/errors.ts'
import { fetchBundle } from '../../../src/bundle/download/fetch-bundle.ts'
import type { FetchReport } from '../../../src/bundle/download/fetch-bundle.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import type { Source } from '../../../src/protocol/piece-sources.ts'
import { log } from './cluster.ts'

/** Tells a process of this file what to fetch, and where to. */
export type FetchOrder = { folder: string; bundle: string; sources: Source[] }

/** What it answers; `held` again and again. */
export type FetchNews = { held: number } | { report: FetchReport } | { code: string; message: string }

/** A pilot's fetch in a process of its own, to be killed or to have a disk of its own. */
process.once('message', (order: FetchOrder) => {
  const say = (news: FetchNews) => process.send!(news)
  run(order, say)
    .then((report) => say({ report }))
    .catch((error: unknown) =>
      say({ code: error instanceof BundleError ? error.code : 'other', message: String(error) }),
    )
    .finally(() => process.disconnect())
})

async function run({ folder, bundle, sources }: FetchOrder, say: (news: FetchNews) => void) {
  await using store = await openStore({ folder, log })
  return await fetchBundle({
    bundle,
    store,
    sources: () => Promise.resolve(sources),
    log,
    signal: AbortSignal.timeout(180_000),
    onProgress: (held) => say({ held }),
  })
}
