import type { BlobCache } from '../../../src/pilot/tasks/blob-cache.ts'
import type { PartSender } from '../../../src/pilot/uplink/part-sender.ts'

const none = () => Promise.reject(new Error('there are no blobs here'))
const noBlobs: BlobCache = { folder: '/nowhere', bring: none, letGo() {}, send: none }

const noParts: PartSender = { send() {}, close() {} }

/** For libraries whose calls have no blobs, and no readers for parts of their values. */
export const withoutBlobs = { blobs: noBlobs, partSender: noParts }
