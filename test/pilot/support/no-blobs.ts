import type { BlobCache } from '../../../src/pilot/tasks/blob-cache.ts'

const none = () => Promise.reject(new Error('there are no blobs here'))
const noBlobs: BlobCache = { folder: '/nowhere', bring: none, letGo() {}, send: none }

/** What a library needs to know of blobs if its tasks have none. */
export const withoutBlobs = { blobs: noBlobs, onTaskChange() {} }
