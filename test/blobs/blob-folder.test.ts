import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import {
  blobFile,
  BlobMismatch,
  listBlobs,
  readBlobSync,
  refOf,
  writeBlob,
  writeBlobSync,
} from '../../src/blobs/blob-folder.ts'

let folder: string
beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'gleaner-blobs-'))))
afterEach(() => rm(folder, { recursive: true, force: true }))

const bytes = Buffer.from('a blob of some bytes')
const ref = refOf(bytes)
async function* stream(...chunks: (string | Error)[]) {
  for (const chunk of chunks) {
    if (chunk instanceof Error) throw chunk
    yield await Promise.resolve(Buffer.from(chunk))
  }
}

describe('a folder of blobs', () => {
  test('has a blob under its hash once all of it is there', async () => {
    await writeBlob(folder, ref, stream('a blob of', ' some bytes'))
    assert.deepEqual(await readdir(folder), [ref.sha256])
    assert.deepEqual(await readFile(blobFile(folder, ref.sha256)), bytes)
    assert.deepEqual(await listBlobs(folder), [ref])
  })

  test('takes nothing else: neither less nor more nor other bytes, nor what is cut off', async () => {
    for (const chunks of [
      ['a blob of'],
      ['a blob of some bytes', '!'],
      ['a blob of some bytez'],
      ['x'.repeat(1e6)],
    ]) {
      await assert.rejects(writeBlob(folder, ref, stream(...chunks)), BlobMismatch)
    }
    await assert.rejects(writeBlob(folder, ref, stream('a blob', new Error('cut'))), /cut/)
    assert.deepEqual(await readdir(folder), [])
  })

  test('gives out no file that was changed', () => {
    writeBlobSync(folder, ref, bytes)
    writeBlobSync(folder, ref, bytes)
    assert.deepEqual(readBlobSync(folder, ref), bytes)
    writeBlobSync(folder, { ...ref, sha256: '0'.repeat(64) }, bytes)
    assert.throws(() => readBlobSync(folder, { ...ref, sha256: '0'.repeat(64) }), BlobMismatch)
  })

  test('forgets what a killed process left unfinished', async () => {
    await writeFile(join(folder, `${ref.sha256}.1234.new`), 'half')
    await writeBlob(folder, ref, stream(bytes.toString()))
    assert.deepEqual(await listBlobs(folder), [ref])
    assert.deepEqual(await readdir(folder), [ref.sha256])
  })
})
