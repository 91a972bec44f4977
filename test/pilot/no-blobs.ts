import type { Blobs } from '../../src/pilot/blobs.ts'

const none = () => Promise.reject(new Error('there are no blobs here'))

/** For workers whose tasks have no blobs. */
export const noBlobs: Blobs = { folder: '/nowhere', bring: none, letGo: none, send: none }
