import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { blobFile, refOf, writeBlobSync } from '../../../src/blobs/blob-folder.ts'
import { createBlobCache } from '../../../src/pilot/tasks/blob-cache.ts'
import type { BlobRef } from '../../../src/protocol/blob.ts'
import { until } from '../../support/until.ts'

const blob = (text: string) => ({ text, ref: refOf(Buffer.from(text)) })
const [a, b, c] = [blob('aaaa'), blob('bbbb'), blob('cccc')]

/** Blobs in a folder of their own, and a manager that has `a`, `b` and `c`. */
async function begin(maxBytes = 1000) {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-pilot-blobs-'))
  const texts = new Map([a, b, c].map(({ text, ref }) => [ref.sha256, [text]]))
  const got: string[] = []
  const put: BlobRef[] = []
  const blobs = createBlobCache({
    folder: join(folder, 'blobs'),
    maxBytes,
    async get(sha256, take) {
      got.push(sha256)
      const answers = texts.get(sha256)
      if (!answers) throw new Error('the manager does not have it')
      await take(Readable.from([Buffer.from(answers.length > 1 ? answers.shift()! : answers[0]!)]))
    },
    async put(ref, open) {
      await open().toArray()
      put.push(ref)
    },
  })
  const has = ({ ref }: typeof a) => existsSync(blobFile(blobs.folder, ref.sha256))
  return {
    blobs,
    texts,
    got,
    put,
    has,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

describe('the blobs of a worker', () => {
  test('come once, however many want them', async () => {
    await using here = await begin()
    await Promise.all([
      here.blobs.bring([a.ref]),
      here.blobs.bring([a.ref, b.ref]),
      here.blobs.bring([b.ref]),
    ])
    assert.deepEqual([...here.got].sort(), [a.ref.sha256, b.ref.sha256].sort())
    assert.ok(here.has(a) && here.has(b))
  })

  test('stay while a call uses them, and as long as there is room', async () => {
    await using here = await begin(8)
    await here.blobs.bring([a.ref])
    await here.blobs.bring([b.ref])
    await here.blobs.bring([c.ref])
    assert.ok(here.has(a) && here.has(b) && here.has(c))
    here.blobs.letGo([c.ref])
    await until(() => !here.has(c))
    here.blobs.letGo([a.ref])
    here.blobs.letGo([b.ref])
    assert.ok(here.has(a) && here.has(b))
    await here.blobs.bring([c.ref])
    here.blobs.letGo([c.ref])
    await until(() => !here.has(a))
    assert.ok(here.has(b) && here.has(c))
  })

  test('are tried again when other bytes come, and given up in the end', async () => {
    await using here = await begin()
    here.texts.set(a.ref.sha256, ['oops', 'aaa', 'aaaa'])
    await here.blobs.bring([a.ref])
    assert.equal(here.got.length, 3)
    here.texts.set(b.ref.sha256, ['oops'])
    await assert.rejects(here.blobs.bring([b.ref]), {
      name: 'BlobError',
      message: /cut off or changed on the way/,
    })
    here.texts.set(b.ref.sha256, ['bbbb'])
    await here.blobs.bring([b.ref])
    assert.ok(here.has(b))
  })

  test('of results go to the manager, and are here for the call that needs them next', async () => {
    await using here = await begin()
    const d = blob('dddd')
    writeBlobSync(here.blobs.folder, d.ref, Buffer.from(d.text))
    await here.blobs.send([d.ref])
    assert.deepEqual(here.put, [d.ref])
    await here.blobs.bring([d.ref])
    assert.deepEqual(here.got, [])
    await assert.rejects(here.blobs.send([blob('never left here').ref]), /no such file/)
    await assert.rejects(
      here.blobs.send([blob('never left here').ref]),
      /no such file/,
      'it is not taken for here',
    )
  })

  test('of results that a library found here, and were let go of before it said so, are got again', async () => {
    await using here = await begin(4)
    await here.blobs.bring([a.ref])
    await here.blobs.bring([b.ref])
    writeBlobSync(here.blobs.folder, a.ref, Buffer.from(a.text))
    here.blobs.letGo([a.ref])
    await here.blobs.send([a.ref])
    assert.deepEqual(
      here.got,
      [a, b, a].map(({ ref }) => ref.sha256),
    )
  })

  test('that are wanted again while they go are here when they have come', async () => {
    await using here = await begin(4)
    for (let i = 0; i < 20; i++) {
      await here.blobs.bring([b.ref])
      await here.blobs.bring([a.ref])
      here.blobs.letGo([a.ref])
      await here.blobs.bring([a.ref])
      assert.ok(here.has(a))
      here.blobs.letGo([a.ref, b.ref])
    }
  })
})
