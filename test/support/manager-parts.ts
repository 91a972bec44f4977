import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { openStore, type Store } from '../../src/bundle/store/store.ts'
import { BlobStore } from '../../src/manager/services/blob-store.ts'
import { Contexts } from '../../src/manager/services/contexts/contexts.ts'
import { Dispatcher } from '../../src/manager/services/dispatcher.ts'
import { Jobs } from '../../src/manager/services/jobs/jobs.ts'
import { addContext } from '../../src/manager/ledger/context-records.ts'
import { Ledger } from '../../src/manager/ledger/ledger.ts'
import { CONTEXT } from './manager.ts'

const log = pino({ level: 'silent' })

/** The parts of a manager, without its server, by a clock that stands still until the test moves it. */
export interface Parts extends AsyncDisposable {
  folder: string
  ledger: Ledger
  store: Store
  dispatcher: Dispatcher
  contexts: Contexts
  blobs: BlobStore
  jobs: Jobs
  /** Lets so many milliseconds go by. */
  pass(ms: number): void
  /** Makes all that is not on disk anew, as a start of the manager does. */
  restart(): Promise<void>
}

/** The parts of a manager on a new folder, with {@link CONTEXT} in its ledger. */
export async function openParts({ blobBytes = 1000 } = {}): Promise<Parts> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-parts-'))
  const ledger = new Ledger(join(folder, 'ledger.db'), log)
  const store = await openStore({ folder: join(folder, 'store'), log })
  await addContext(ledger, CONTEXT, 1)
  let at = 1_000_000_000
  const now = () => at

  async function start() {
    const dispatcher = new Dispatcher(ledger, log, {}, now)
    const contexts = new Contexts(ledger, store, dispatcher)
    const blobFolder = join(folder, 'blobs')
    const blobs = await BlobStore.open({ ledger, folder: blobFolder, maxBytes: blobBytes, now, log })
    return { dispatcher, contexts, blobs, jobs: new Jobs(ledger, dispatcher, contexts, blobs, () => {}) }
  }

  const parts: Parts = {
    folder,
    ledger,
    store,
    ...(await start()),
    pass: (ms) => void (at += ms),
    async restart() {
      parts.dispatcher.close()
      Object.assign(parts, await start())
    },
    async [Symbol.asyncDispose]() {
      parts.dispatcher.close()
      await store[Symbol.asyncDispose]()
      await ledger.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return parts
}
