import type { FetchReport } from '../../../src/bundle/download/fetch-bundle.ts'

/** What the benchmark tells a node. */
export type Order =
  /** Open a store in the folder and serve it from the address; `corrupt`: spoil every piece that leaves. */
  | { type: 'open'; name: string; folder: string; address: string; corrupt: boolean }
  /** Make a bundle of one file of so many random bytes and be the manager of it. */
  | { type: 'create'; bytes: number }
  /** Worker names and addresses that the manager may name as sources. */
  | { type: 'workers'; workers: { name: string; url: string }[] }
  /** Let in who shows tickets made with this key (SPKI, base64). */
  | { type: 'trust'; key: string }
  /** Fetch the bundle; `manager` is where to ask for sources. */
  | { type: 'fetch'; bundle: string; manager: string }

/** What a node tells the benchmark. Times are milliseconds since 1970. */
export type Answer =
  | { type: 'opened'; url: string }
  | { type: 'created'; bundle: string; key: string }
  | { type: 'trusted' }
  /** A further tenth of the bundle is there; `share` is between 0 and 1. */
  | { type: 'progress'; share: number }
  | { type: 'fetched'; at: number; report: FetchReport; cpuMs: number }
  | { type: 'failed'; message: string }
