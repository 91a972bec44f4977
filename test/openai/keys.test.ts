import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import OpenAI, { AuthenticationError, NotFoundError, PermissionDeniedError, toFile } from 'openai'
import { pino } from 'pino'
import { connect } from '../../src/client/index.ts'
import { addContext } from '../../src/manager/ledger/context-records.ts'
import { Ledger } from '../../src/manager/ledger/ledger.ts'
import { openAiRoutes } from '../../src/openai/routes.ts'
import { ask, CONTEXT, startOn } from '../support/manager.ts'
import { until } from '../support/until.ts'

/** A context that answers chats, with nothing behind it. */
const modelNamed = (name: string, digit: string) => ({
  ...CONTEXT,
  id: digit.repeat(64),
  name,
  spec: { ...CONTEXT.spec, functions: { chat: { export: 'chat' } } } as typeof CONTEXT.spec,
})

describe('keys of the OpenAI API', () => {
  let folder = ''
  let manager: Awaited<ReturnType<typeof startOn>>
  const start = () =>
    startOn(folder, {
      routes: [(server, services) => openAiRoutes(server, { ...services, folder: join(folder, 'openai') })],
    })
  const openai = (apiKey: string) => new OpenAI({ baseURL: `${manager.url}/v1`, apiKey, maxRetries: 0 })
  const client = () => connect({ url: manager.url, token: manager.token, patienceMs: 0 })
  const messages = [{ role: 'user' as const, content: 'x' }]
  const upload = async (api: OpenAI, model = 'one') => {
    const body = { model, messages }
    const line = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body }
    return api.files.create({
      file: await toFile(Buffer.from(JSON.stringify(line)), 'in.jsonl'),
      purpose: 'batch',
    })
  }
  const batchOf = (api: OpenAI, input_file_id: string) =>
    api.batches.create({ input_file_id, endpoint: '/v1/chat/completions', completion_window: '24h' })

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gleaner-keys-'))
    const ledger = new Ledger(join(folder, 'ledger.db'), pino({ level: 'silent' }))
    await addContext(ledger, modelNamed('one', '1'), 1)
    await addContext(ledger, modelNamed('two', '2'), 1)
    await ledger.close()
    manager = await start()
  })
  after(async () => {
    await manager.close()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  })

  test('open the API and nothing else of the manager, from the moment they are made to when they are revoked', async () => {
    await using user = client()
    const { key, name, readOnly } = await user.createKey({ name: 'everything' })
    assert.deepEqual([name, readOnly], ['everything', false])
    const listed = async () => (await openai(key).models.list()).data.map(({ id }) => id).sort()
    assert.deepEqual(await listed(), ['one', 'two'])
    for (const path of [
      '/v1/status',
      '/v1/jobs',
      '/v1/contexts',
      '/v1/keys',
      `/v1/contexts/${'1'.repeat(64)}`,
    ])
      assert.equal((await ask(manager.url, key, path)).status, 401, path)
    for (const path of [
      '/v1/stop',
      '/v1/keys',
      '/v1/workers',
      '/v1/workers/w1/exchange',
      '/v1/workers/w1/parts',
    ])
      assert.equal((await ask(manager.url, key, path, {})).status, 401, path)
    await assert.rejects(user.createKey({ name: 'everything' }), /there is, or was, a key named/)

    await manager.close()
    manager = await start()
    assert.deepEqual(await listed(), ['one', 'two'])
    await using later = client()
    await later.revokeKey('everything')
    await assert.rejects(listed(), AuthenticationError)
    assert.deepEqual(
      (await later.keys()).map(({ name, revokedAt }) => [name, revokedAt !== undefined]),
      [['everything', true]],
    )
    await assert.rejects(later.revokeKey('nothing'), /there is no key "nothing"/)
  })

  test('that are for some models use these, and see what they have made themselves', async () => {
    await using user = client()
    const limited = openai((await user.createKey({ name: 'limited', models: ['one'] })).key)
    assert.deepEqual(
      (await limited.models.list()).data.map(({ id }) => id),
      ['one'],
    )
    await assert.rejects(limited.models.retrieve('two'), PermissionDeniedError)
    await assert.rejects(limited.chat.completions.create({ model: 'two', messages }), (error) => {
      assert.ok(error instanceof PermissionDeniedError)
      assert.deepEqual([error.param, error.code], ['model', 'model_not_allowed'])
      return true
    })
    const others = await upload(openai(manager.token))
    const own = await upload(limited)
    const foreign = await upload(limited, 'two')
    assert.deepEqual(
      (await limited.files.list()).data.map(({ id }) => id).sort(),
      [own.id, foreign.id].sort(),
    )
    await assert.rejects(limited.files.content(others.id), NotFoundError)
    await assert.rejects(limited.files.delete(others.id), NotFoundError)
    await assert.rejects(batchOf(limited, others.id), NotFoundError)
    const batch = await batchOf(limited, own.id)
    const refused = await batchOf(limited, foreign.id)
    await until(async () => (await limited.batches.retrieve(refused.id)).status === 'failed')
    const { errors } = await limited.batches.retrieve(refused.id)
    assert.match(errors!.data![0]!.message!, /this API key is not for model "two"/)
    const foreigner = openai((await user.createKey({ name: 'foreigner', models: ['one'] })).key)
    assert.deepEqual((await foreigner.batches.list()).data, [])
    await assert.rejects(foreigner.batches.cancel(batch.id), NotFoundError)
    assert.equal((await openai(manager.token).batches.list()).data.length, 2)
  })

  test('that are for reading start nothing', async () => {
    await using user = client()
    const reader = openai((await user.createKey({ name: 'reader', readOnly: true })).key)
    const file = await upload(openai(manager.token))
    assert.equal((await reader.files.retrieve(file.id)).id, file.id)
    const attempts = [
      () => reader.chat.completions.create({ model: 'one', messages }),
      () => upload(reader),
      () => batchOf(reader, file.id),
      () => reader.files.delete(file.id),
    ]
    for (const attempt of attempts) await assert.rejects(attempt, PermissionDeniedError)
  })

  test('a batch that is cancelled at any moment of its beginning ends as cancelled', async () => {
    const api = openai(manager.token)
    const { id } = await upload(api)
    // Each is looked through for a time, and some of its steps wait for the disk.
    for (let turns = 0; turns < 60; turns++) {
      const batch = await batchOf(api, id)
      for (let i = 0; i < turns; i++) await setImmediate()
      await api.batches.cancel(batch.id)
      await until(async () => (await api.batches.retrieve(batch.id)).status !== 'cancelling')
      assert.equal((await api.batches.retrieve(batch.id)).status, 'cancelled')
    }
  })

  test('a request without a body may say that it would be JSON, as those of the client for Python do', async () => {
    const { id } = await upload(openai(manager.token))
    const batch = await batchOf(openai(manager.token), id)
    const send = async (method: string, path: string) => {
      const headers = { authorization: `Bearer ${manager.token}`, 'content-type': 'application/json' }
      const response = await fetch(`${manager.url}${path}`, { method, headers })
      return [response.status, await response.text()] as const
    }
    assert.equal((await send('POST', `/v1/batches/${batch.id}/cancel`))[0], 200)
    const [status, text] = await send('DELETE', `/v1/files/${id}`)
    assert.equal(status, 200, text)
    // Where a body is needed, it is missed.
    assert.equal((await send('POST', '/v1/chat/completions'))[0], 400)
    assert.equal((await send('POST', '/v1/jobs'))[0], 400)
  })

  test('are kept as hashes only', async () => {
    await using user = client()
    const { key } = await user.createKey({ name: 'secret' })
    const secret = key.split('.')[1]!
    for (const file of ['ledger.db', 'ledger.db-wal']) {
      const bytes = await readFile(join(folder, file)).catch(() => Buffer.alloc(0))
      assert.equal(bytes.includes(secret), false, file)
    }
  })
})
