import assert from 'node:assert/strict'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { Agent, request } from 'undici'
import type { LoginCode, LoginResponse } from '../../src/protocol/dashboard-login.ts'
import type { Status } from '../../src/protocol/status.ts'
import type { Manager } from '../../src/manager/manager.ts'
import { KEY_HEADER } from '../../src/web/session-header.ts'
import { loadAssets } from '../../src/web/server/assets.ts'
import { dashboardRoutes } from '../../src/web/server/routes.ts'
import type { View } from '../../src/web/view.ts'
import { ask, HttpWorker, makeState, removeState, startOn } from '../support/manager.ts'

let folder: string
let manager: Manager & { token: string }
const start = () => startOn(folder, { routes: [dashboardRoutes] })

beforeEach(async () => {
  folder = await makeState()
  manager = await start()
})
afterEach(async () => {
  await manager.close()
  await removeState(folder)
})

type Headers = Record<string, string>
interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

async function send(method: string, path: string, headers: Headers = {}, body?: object): Promise<Answer> {
  const response = await request(manager.url + path, {
    method: method as 'GET',
    headers: { ...headers, ...(body && { 'content-type': 'application/json' }) },
    body: body ? JSON.stringify(body) : null,
  })
  return { status: response.statusCode, headers: response.headers, text: await response.body.text() }
}

const here = () => ({ origin: manager.url, 'sec-fetch-site': 'same-origin' })
const newCode = async (role: 'operator' | 'viewer') =>
  (await ask<LoginCode>(manager.url, manager.token, '/v1/dashboard/codes', { role })).body.code

/** Signs in as a browser does; returns what it sends along from then on. */
async function signIn(
  role: 'operator' | 'viewer',
): Promise<{ cookie: string; key: string; headers: Headers }> {
  const { status, headers, text } = await send('POST', '/dashboard/session', here(), {
    code: await newCode(role),
  })
  assert.equal(status, 200, text)
  const cookie = String(headers['set-cookie']).split(';')[0]!
  const { key } = JSON.parse(text) as LoginResponse
  return { cookie, key, headers: { ...here(), cookie, [KEY_HEADER]: key } }
}

async function makeJob(): Promise<number> {
  const { body } = await ask<{ id: number }>(manager.url, manager.token, '/v1/jobs', {
    name: 'job',
    context: 'ctx',
  })
  const tasks = [{ key: 'a', input: 1 }]
  await ask(manager.url, manager.token, `/v1/jobs/${body.id}/tasks`, { tasks })
  return body.id
}
const stateOf = async (job: number) =>
  (await ask<{ state: string }>(manager.url, manager.token, `/v1/jobs/${job}`)).body.state

describe('the page', () => {
  test('is there for everybody, and forbids whatever is not its own', async () => {
    const { status, headers, text } = await send('GET', '/dashboard/')
    assert.equal(status, 200)
    assert.match(text, /<script type="module" src="main.js">/)
    const policy = String(headers['content-security-policy'])
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self';/)
    assert.match(policy, /frame-ancestors 'none'.*trusted-types 'none'/)
    assert.doesNotMatch(policy, /unsafe|http|\*/)
    assert.doesNotMatch(text, /style=|<style|onload=|https?:/)
  })

  test('comes in tens of kilobytes, and is not sent again', async () => {
    const assets = [...(await loadAssets()).values()]
    const packed = assets.reduce((sum, asset) => sum + asset.packed.length, 0)
    assert.ok(packed < 56_000, `${packed} bytes`)
    const first = await send('GET', '/dashboard/main.js', { 'accept-encoding': 'gzip' })
    assert.equal(first.headers['content-encoding'], 'gzip')
    const again = await send('GET', '/dashboard/main.js', { 'if-none-match': String(first.headers.etag) })
    assert.deepEqual([again.status, again.text], [304, ''])
  })
})

describe('a login code', () => {
  test('is only made for those who have the user’s token', async () => {
    assert.equal((await send('POST', '/v1/dashboard/codes', {}, {})).status, 401)
    const { headers } = await signIn('operator')
    assert.equal((await send('POST', '/v1/dashboard/codes', headers, {})).status, 401)
  })

  test('signs in once, with a cookie that scripts and other sites do not get', async () => {
    const code = await newCode('operator')
    const { headers } = await send('POST', '/dashboard/session', here(), { code })
    const cookie = String(headers['set-cookie'])
    assert.match(
      cookie,
      /^gleaner-[0-9a-f]+=[\w-]{43}; Max-Age=\d+; Path=\/dashboard; HttpOnly; SameSite=Strict$/,
    )
    const again = await send('POST', '/dashboard/session', here(), { code })
    assert.equal(again.status, 401)
    assert.match(again.text, /used already, or is too old/)
    assert.equal(again.headers['set-cookie'], undefined)
  })

  test('gives a cookie for TLS alone where the browser came by TLS', async () => {
    const throughProxy = { origin: 'https://gleaner.example', 'sec-fetch-site': 'same-origin' }
    const { headers } = await send('POST', '/dashboard/session', throughProxy, {
      code: await newCode('viewer'),
    })
    assert.match(String(headers['set-cookie']), /; Secure/)
  })
})

describe('a session', () => {
  test('is nothing without the key that only the page’s own origin knows', async () => {
    const { cookie, key } = await signIn('operator')
    for (const part of [{ cookie }, { [KEY_HEADER]: key }, { cookie, [KEY_HEADER]: 'x' }]) {
      for (const path of ['session', 'feed', 'jobs/1/errors'])
        assert.equal((await send('GET', `/dashboard/api/${path}`, { ...here(), ...part })).status, 401)
    }
  })

  test('opens nothing but the dashboard', async () => {
    const { headers } = await signIn('operator')
    for (const path of ['/v1/status', '/v1/jobs', '/v1/contexts'])
      assert.equal((await send('GET', path, headers)).status, 401)
    assert.equal((await send('POST', '/v1/stop', headers, {})).status, 401)
  })

  test('goes on after the manager was restarted', async () => {
    const { headers } = await signIn('viewer')
    await manager.close()
    manager = await start()
    const { status, text } = await send('GET', '/dashboard/api/session', { ...headers, ...here() })
    assert.deepEqual([status, text], [200, '{"role":"viewer"}'])
  })

  test('ends when it signs out', async () => {
    const { headers } = await signIn('viewer')
    assert.equal((await send('DELETE', '/dashboard/api/session', headers)).status, 200)
    assert.equal((await send('GET', '/dashboard/api/session', headers)).status, 401)
  })

  test('ends, with what it listens to, when the user signs all browsers out', async () => {
    const { headers } = await signIn('operator')
    const feed = await request(`${manager.url}/dashboard/api/feed`, { headers })
    const { body } = await ask<{ ended: number }>(manager.url, manager.token, '/v1/dashboard/end', {})
    assert.equal(body.ended, 1)
    feed.body.resume()
    await once(feed.body, 'end')
    assert.equal((await send('GET', '/dashboard/api/session', headers)).status, 401)
  })
})

const WRITES = [
  ...['jobs/1/cancel', 'jobs/1/retry', 'contexts/ctx/warm', 'pilots/p1/drain'],
  ...['sites/here/pause', 'sites/here/drain', 'sites/here/work'],
]

describe('a viewer', () => {
  test('can look at everything, and act on nothing', async () => {
    const job = await makeJob()
    const { headers } = await signIn('viewer')
    assert.equal((await send('GET', `/dashboard/api/jobs/${job}/errors`, headers)).status, 200)
    assert.equal((await send('GET', `/dashboard/api/jobs/${job}/log?key=a`, headers)).status, 200)
    for (const path of WRITES) {
      const { status, text } = await send('POST', `/dashboard/api/${path}`, headers)
      assert.equal(status, 403, path)
      assert.match(text, /can look, not act/)
    }
    assert.equal(await stateOf(job), 'open')
  })
})

describe('an operator', () => {
  test('cancels and retries a job', async () => {
    const job = await makeJob()
    const { headers } = await signIn('operator')
    assert.equal((await send('POST', `/dashboard/api/jobs/${job}/cancel`, headers)).status, 200)
    assert.equal(await stateOf(job), 'cancelled')
    assert.equal((await send('POST', `/dashboard/api/jobs/${job}/retry`, headers)).status, 200)
    assert.equal(await stateOf(job), 'open')
  })

  test('drains a pilot, and warms a context', async () => {
    const worker = await HttpWorker.register(manager)
    await worker.exchange()
    const { headers } = await signIn('operator')
    assert.equal((await send('POST', '/dashboard/api/contexts/ctx/warm', headers)).status, 200)
    assert.equal((await send('POST', '/dashboard/api/pilots/p1/drain', headers)).status, 200)
    const { body } = await worker.exchange()
    assert.equal(body.drain, true)
    await worker.die()
  })

  test('is not obeyed when a page of another origin sends the request in its name', async () => {
    const job = await makeJob()
    const { headers } = await signIn('operator')
    const foreign = [
      { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
      { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' },
      { origin: 'null', 'sec-fetch-site': 'cross-site' },
    ]
    for (const from of foreign) {
      const answer = await send('POST', `/dashboard/api/jobs/${job}/cancel`, { ...headers, ...from })
      assert.equal(answer.status, 403)
      assert.equal(answer.headers['access-control-allow-origin'], undefined)
      assert.equal(
        (await send('POST', '/dashboard/session', from, { code: await newCode('operator') })).status,
        403,
      )
    }
    assert.equal(await stateOf(job), 'open')
  })
})

describe('the feed', () => {
  test('says what the status says', async () => {
    const job = await makeJob()
    const worker = await HttpWorker.register(manager)
    await worker.exchange()
    const { headers } = await signIn('viewer')
    const { body: stream } = await request(`${manager.url}/dashboard/api/feed`, { headers })
    const [chunk] = (await once(stream.setEncoding('utf8'), 'data')) as [string]
    stream.destroy()
    const view = JSON.parse(/^event: view\ndata: (.*)\n\n$/.exec(chunk)![1]!) as View
    const { body: status } = await ask<Status>(manager.url, manager.token, '/v1/status')
    assert.deepEqual(view.tasks, status.tasks)
    assert.deepEqual(Object.values(view.workers), status.workers)
    assert.deepEqual(view.jobs[job], { ...status.jobs[0], rate: 0 })
    assert.deepEqual(
      Object.values(view.contexts).map(({ context }) => context),
      ['ctx'],
    )
    await worker.die()
  })

  test('is packed for browsers that take it', async () => {
    const { headers } = await signIn('viewer')
    const agent = new Agent()
    const response = await request(`${manager.url}/dashboard/api/feed`, {
      headers: { ...headers, 'accept-encoding': 'gzip, br' },
      dispatcher: agent,
    })
    assert.equal(response.headers['content-encoding'], 'gzip')
    await once(response.body, 'data')
    response.body.on('error', () => {}).destroy()
    await agent.destroy()
  })
})
