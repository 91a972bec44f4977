import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { connect, type Client } from '../../src/client/index.ts'
import { readEndpoint } from '../../src/client/endpoint.ts'
import type { DashboardRole } from '../../src/protocol/dashboard-login.ts'
import { kill, plant, plantContext, type Plant } from '../end-to-end/factory-fixture.ts'
import { until } from '../support/until.ts'
import { launchBrowser } from './browser.ts'

/** Of the browser, in which some functions run. */
declare const document: { documentElement: { scrollWidth: number } }

/** Text that would run, or be drawn as an element, if it were taken for markup. */
const MARKUP = `<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>`
const CODE = `
import { setTimeout as delay } from 'node:timers/promises'
export async function work(input) {
  await delay(input.ms)
  console.log(input.fail)
  if (input.fail) throw Object.assign(new Error(input.fail + ' in the message'), { name: input.fail })
  return input.ms
}
`
const SPEC = `
name: careful
bundles: { code: code }
library: module
setup: { bundle: code, file: work.js }
functions: { work: { export: work } }
`

let here: Plant
let client: Client
let browser: Browser
/** What the browser complained of, on any page. */
const complaints: string[] = []

before(async () => {
  here = await plant('sites: { here: { kind: local, count: 2 } }')
  await plantContext(here, 'careful', {
    'context.yaml': SPEC,
    'code/work.js': CODE,
    'code/package.json': '{"type":"module"}',
  })
  await here.start()
  client = connect({ state: here.state, patienceMs: 0 })
  browser = await launchBrowser()
})
after(async () => {
  await browser?.close()
  await client?.close()
  await here?.[Symbol.asyncDispose]()
})

/** What `factory dashboard` prints, without the time that a process takes. */
async function addressFor(role: DashboardRole): Promise<string> {
  const { code } = await client.dashboardCode(role)
  return `${readEndpoint(here.state)!.url}/dashboard/#code=${code}`
}

/** Opens the dashboard in a browser of its own. */
async function open(options: BrowserContextOptions = {}, role: DashboardRole = 'operator'): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 }, ...options })
  const page = await context.newPage()
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(await addressFor(role))
  await page.locator('header').waitFor()
  return page
}

const figure = async (page: Page, name: string) =>
  Number((await page.locator(`[data-figure="${name}"]`).textContent())!.replaceAll(',', ''))

/** For people to look at, where they ask for it. */
async function keepPicture(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS
  if (folder !== undefined) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true })
}

async function submit(name: string, inputs: object[]): Promise<number> {
  const job = await client.createJob({ name, context: 'careful' })
  await job.add(inputs.map((input, i) => ({ key: `${MARKUP.slice(0, 60)} ${i}`, input: input as never })))
  await job.close()
  return job.id
}

const jobState = async (id: number) => (await client.job(id).info()).state

describe('the dashboard of a real run whose pilots are killed', () => {
  test('shows the figures of the API, and what nodes say as text', async () => {
    const page = await open()
    const inputs = Array.from({ length: 4000 }, (_, i) => ({ ms: 10, ...(i % 50 === 0 && { fail: MARKUP }) }))
    const job = await submit(`claims ${MARKUP}`, inputs)
    await page.getByText('Working.').waitFor()
    await keepPicture(page, 'working')

    const [pid] = (await here.pilots()).values()
    assert.ok(kill(-pid!))
    await until(async () => (await figure(page, 'lost workers')) >= 1)
    await keepPicture(page, 'killed')

    await until(async () => (await jobState(job)) === 'finished')
    await page.getByText('Idle.').waitFor()
    await until(async () => (await figure(page, 'done')) === 3920)
    const status = await client.status()
    const shown = [
      'queued',
      'running',
      'done',
      'failed',
      'evictions',
      'lost workers',
      'given back',
      'done twice',
    ]
    const { tasks, evictions, lost, requeued, duplicates } = status
    assert.deepEqual(await Promise.all(shown.map((name) => figure(page, name))), [
      ...[tasks.queued, tasks.leased, tasks.done, tasks.failed],
      ...[evictions, lost, requeued, duplicates],
    ])
    const cells = await page.locator(`tr[data-job="${job}"] > *`).allTextContents()
    assert.deepEqual(cells.slice(4, 7), ['3,920', '80', '4,000'])

    await page.getByRole('button', { name: '80' }).click()
    await page.locator('.failures summary').first().click()
    await page.locator('.failures pre').getByText('in the message').waitFor()
    await keepPicture(page, 'failures')
    const text = (await page.locator('main').textContent())!
    for (const said of [`claims ${MARKUP}`, `${MARKUP} in the message`]) assert.ok(text.includes(said), said)
    assert.equal(await page.locator('main img, main script').count(), 0)
    assert.equal(await page.evaluate(() => 'hacked' in globalThis), false)
    await page.context().close()
  })

  test('cancels a job when that is confirmed, and not before', async () => {
    const page = await open()
    const job = await submit(
      'long',
      Array.from({ length: 500 }, () => ({ ms: 60_000 })),
    )
    const button = page.getByRole('button', { name: `Cancel job ${job}` })
    await button.focus()
    await page.keyboard.press('Enter')
    await page.getByRole('dialog', { name: `Cancel job ${job}?` }).waitFor()
    await keepPicture(page, 'question')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    assert.equal(await jobState(job), 'open')

    await button.click()
    await page.getByRole('button', { name: 'Cancel the job' }).click()
    await page.getByRole('status').getByText(`Job ${job} was cancelled.`).waitFor()
    assert.equal(await jobState(job), 'cancelled')
    await page.locator(`tr[data-job="${job}"]`).getByText('cancelled').waitFor()
    await page.context().close()
  })

  test('pauses a site and has it go on', async () => {
    const page = await open()
    for (const [verb, order] of [
      ['Pause', 'pause'],
      ['Resume', 'work'],
    ] as const) {
      await page.getByRole('button', { name: `${verb} site here` }).click()
      await page.getByRole('button', { name: `${verb} the site` }).click()
      await until(async () => (await client.status()).sites[0]!.order === order)
    }
    await page.context().close()
  })

  test('lets a viewer look, and not act', async () => {
    const job = await submit('looked at', [{ ms: 60_000 }])
    const page = await open({}, 'viewer')
    await page.locator(`tr[data-job="${job}"]`).waitFor()
    assert.equal(await page.getByRole('button', { name: /Cancel|Retry|Warm|Drain|Pause/ }).count(), 0)
    const refused = await page.evaluate(async (id) => {
      const headers = { 'x-gleaner-key': localStorage.getItem('gleaner-key')! }
      return (await fetch(`/dashboard/api/jobs/${id}/cancel`, { method: 'POST', headers })).status
    }, job)
    assert.equal(refused, 403)
    assert.equal(await jobState(job), 'open')
    // What the browser says of the request that was refused.
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes('403')))
    await client.job(job).cancel()
    await page.context().close()
  })

  test('fits a phone, in the dark too', async () => {
    const page = await open({ viewport: { width: 375, height: 812 }, colorScheme: 'dark' })
    await page.locator('tr[data-worker]').first().waitFor()
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 375)
    await keepPicture(page, 'phone')
    await page.context().close()
  })

  test('goes on after the factory was restarted, without signing in again', async () => {
    const page = await open()
    const [factory] = [await client.status()]
    await client.stop()
    await page.getByText('trying again').waitFor()
    await here.start()
    await page.locator('.link[data-state="live"]').waitFor()
    assert.ok((await client.status()).startedAt > factory.startedAt)
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !/ERR_|network/i.test(text)))
    await page.context().close()
  })

  test('turns away those whose address was used, and says what to do', async () => {
    const page = await open()
    const { code, stdout, stderr } = await here.factory('dashboard', '--no-open')
    assert.equal(code, 0, stderr)
    const address = stdout.trim()
    await page.goto('about:blank')
    await page.goto(address)
    await page.locator('header').waitFor()
    assert.ok(!page.url().includes('code='))
    const other = await (await browser.newContext()).newPage()
    await other.goto(address)
    await other.getByRole('alert').getByText('used already').waitFor()
    await other.getByText('factory dashboard', { exact: true }).waitFor()
    await other.context().close()
    await page.context().close()
  })

  test('has the browser complain of nothing: all that the content security policy forbids is left undone', () => {
    assert.deepEqual(complaints, [])
  })
})
