import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { refOf } from '../../../src/blobs/blob-folder.ts'
import { createBlobTransfer } from '../../../src/client/functions/blob-transfer.ts'
import type { WantedBlobsRequest } from '../../../src/protocol/blob.ts'
import { pathOf } from '../../../src/protocol/routes/route.ts'
import type { HttpClient } from '../../../src/client/http-client.ts'

const nameOf = (place: object) => (place as { params: { sha256: string } }).params.sha256

/** A manager that keeps what it is given. */
function keeper() {
  const kept = new Map<string, Buffer>()
  const asked: number[] = []
  const sent: string[] = []
  let trouble: Error | undefined
  const transport: Pick<HttpClient, 'call' | 'put' | 'get'> = {
    call(route, request) {
      const { blobs } = request.body as unknown as WantedBlobsRequest
      asked.push(blobs.length)
      const wanted = blobs.map(({ sha256 }) => sha256).filter((sha256) => !kept.has(sha256))
      return Promise.resolve(route.answer.parse({ wanted }) as never)
    },
    async put(route, place, bytes) {
      await Promise.resolve()
      if (trouble) throw trouble
      sent.push(pathOf(route, place))
      kept.set(nameOf(place), Buffer.from(bytes))
    },
    get: (_route, place) => Promise.resolve(kept.get(nameOf(place))!),
  }
  const fail = (error?: Error) => (trouble = error)
  return { kept, asked, sent, fail, blobs: createBlobTransfer(transport) }
}
const partOf = (text: string) => ({ ref: refOf(Buffer.from(text)), bytes: Buffer.from(text) })

describe('a client', () => {
  test('asks once for all blobs of one turn, and sends each that is missing once', async () => {
    const { kept, asked, sent, blobs } = keeper()
    const [a, b, c] = [partOf('a'), partOf('b'), partOf('c')]
    kept.set(c.ref.sha256, c.bytes)
    await Promise.all([
      blobs.put([a, b]),
      blobs.put([a]),
      blobs.put([c]),
      blobs.put([{ ref: partOf('far').ref }]),
    ])
    assert.deepEqual([asked, sent.length], [[3], 2])
    await blobs.put([a, b, c])
    assert.deepEqual([asked, sent.length], [[3], 2])
  })

  test('sends the bytes as they were when the call was made', async () => {
    const { kept, blobs } = keeper()
    const part = partOf('before')
    const putting = blobs.put([part])
    part.bytes.fill('x')
    await putting
    assert.equal(kept.get(part.ref.sha256)?.toString(), 'before')
  })

  test('sends again what could not be sent before', async () => {
    const { kept, fail, blobs } = keeper()
    fail(new Error('no room'))
    await assert.rejects(blobs.put([partOf('a')]), /no room/)
    fail()
    await blobs.put([partOf('a')])
    assert.equal(kept.size, 1)
  })

  test('takes no bytes that are not those it asked for', async () => {
    const { kept, blobs } = keeper()
    const [a, b] = [partOf('aa'), partOf('bb')]
    await blobs.put([a, b])
    assert.deepEqual(
      await blobs.get([a.ref, b.ref]),
      new Map([a, b].map(({ ref, bytes }) => [ref.sha256, bytes])),
    )
    kept.set(b.ref.sha256, Buffer.from('bad'))
    await assert.rejects(blobs.get([a.ref, b.ref]), { name: 'ProtocolError', message: /cut off or changed/ })
  })
})
