import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { request } from 'undici'
import type { SiteStatus, Status } from '../../../../src/protocol/status.ts'
import { listen } from '../../../support/listen.ts'
import { ask, CONTEXT, HttpWorker, managerForEachTest, registration } from '../../../support/manager.ts'
import { until } from '../../../support/until.ts'

const here = managerForEachTest()

/** What a driver may call a device. */
const DEVICE = 'A10 "24 GB" \\ {x="1"}\n# EOF'
const site: SiteStatus = {
  name: 'test',
  kind: 'slurm',
  policy: 'fixed',
  order: 'work',
  max: 4,
  wanted: 4,
  pending: 2,
  running: 1,
  held: 1,
  registered: 1,
  reasons: [],
}

async function scrape(token: string): Promise<{ status: number; text: string }> {
  const { statusCode, body } = await request(`${here.manager.url}/metrics`, {
    headers: { authorization: `Bearer ${token}` },
  })
  return { status: statusCode, text: await body.text() }
}

/** A manager with a site, a worker that has done some tasks and has others in hand, and some that wait. */
async function withWork(): Promise<HttpWorker> {
  const { url, token, registry } = here.manager
  here.manager.showSites({
    status: () => [site],
    pilots: () => [],
    order: () => undefined,
    explain: () => undefined,
  })
  const { body } = await ask<{ id: number }>(url, token, '/v1/jobs', { name: 'job', context: CONTEXT.name })
  const add = (from: number, to: number) =>
    ask(url, token, `/v1/jobs/${body.id}/tasks`, {
      tasks: Array.from({ length: to - from }, (_, i) => ({ key: `k${from + i}`, input: i })),
    })
  await add(0, 7)
  const pilot = registry.create('test', 1)[0]!
  const worker = await HttpWorker.join(url, pilot.token, {
    ...registration(),
    slots: [{ device: DEVICE, cpus: 1, memory: 1 }],
  })
  assert.equal(await worker.workUntilIdle(), 7)
  await add(7, 20)
  await worker.exchange({ room: 3 })
  return worker
}

test('metrics are what promtool takes for good ones, whatever a node calls its devices', async () => {
  const worker = await withWork()
  const { status, text } = await scrape(here.manager.token)
  assert.equal(status, 200)
  const checked = execFileSync('promtool', ['check', 'metrics'], { input: ours(text) }).toString()
  assert.equal(checked, '')
  assert.ok(text.includes('device="A10 \\"24 GB\\" \\\\ {x=\\"1\\"}\\n# EOF"'))
  assert.match(text, /^gleaner_task_run_seconds_count 7$/m)
  assert.match(text, /^gleaner_task_queue_wait_seconds_count \d+$/m)
  assert.match(text, /^gleaner_exchange_seconds_count \d+$/m)
  assert.match(text, /^gleaner_ledger_commit_seconds_count \d+$/m)
  assert.match(text, /^gleaner_contexts\{context="ctx",level="memory"\} 1$/m)
  assert.match(text, /^nodejs_eventloop_lag_seconds /m)
  await worker.die()
})

/** Without what the client library tells of the process, whose names are not ours to choose. */
const ours = (text: string) =>
  `${text
    .split('\n\n')
    .filter((part) => part.includes('# HELP gleaner_'))
    .join('\n\n')}\n`

test('metrics are for the user, and for a token in the state folder that opens nothing else', async () => {
  const file = join(here.folder, 'metrics-token')
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  const token = await readFile(file, 'utf8')
  assert.equal((await scrape(token)).status, 200)
  assert.equal((await scrape('m.nobody')).status, 401)
  assert.equal((await ask(here.manager.url, token, '/v1/status')).status, 401)
})

test('names that do not end get no more than a bounded number of series', async () => {
  const { url, registry } = here.manager
  for (const [i, { token }] of registry.create('test', 60).entries())
    await HttpWorker.join(url, token, {
      ...registration(),
      slots: [{ device: `gpu ${i}`, cpus: 1, memory: 1 }],
    })
  const { text } = await scrape(here.manager.token)
  const series = [...text.matchAll(/^gleaner_workers\{.*device="(.*)"\} (\d+)$/gm)]
  assert.ok(series.length <= 33, `${series.length} series`)
  const other = series.find(([, device]) => device === 'other')
  assert.equal(Number(other?.[2]), 60 - (series.length - 1))
})

test('a Prometheus that is set up as the manual says scrapes what the API tells', async () => {
  const worker = await withWork()
  const folder = join(here.folder, 'prometheus')
  await mkdir(folder)
  const { host } = new URL(here.manager.url)
  await writeFile(
    join(folder, 'prometheus.yml'),
    `scrape_configs:
  - job_name: gleaner
    scrape_interval: 1s
    authorization: { credentials_file: ${join(here.folder, 'metrics-token')} }
    static_configs: [{ targets: ['${host}'] }]
`,
  )
  const port = await freePort()
  const prometheus = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  )
  try {
    const value = (query: string) => valueOf(port, query)
    await until(async () => (await value('up{job="gleaner"}')) === 1)
    const { body: status } = await ask<Status>(here.manager.url, here.manager.token, '/v1/status')
    assert.equal(await value('gleaner_tasks_finished_total{outcome="done"}'), 7)
    assert.equal(await value('gleaner_tasks_queued'), status.tasks.queued)
    assert.equal(await value('gleaner_tasks_leased'), status.tasks.leased)
    assert.equal(status.tasks.queued + status.tasks.leased, 13)
    assert.equal(await value('gleaner_pilots{site="test",state="pending"}'), 2)
    assert.equal(await value('sum(gleaner_workers)'), status.workers.length)
    assert.equal(await value('gleaner_contexts{context="ctx",level="memory"}'), 1)
  } finally {
    prometheus.kill('SIGKILL')
    await worker.die()
  }
})

async function freePort(): Promise<number> {
  await using listening = await listen(createServer())
  return Number(new URL(listening.url).port)
}

/** The value of an expression, as a Prometheus answers it. */
async function valueOf(port: number, query: string): Promise<number | undefined> {
  const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`
  const answer = await request(url).catch(() => undefined)
  if (answer?.statusCode !== 200) return undefined
  const { data } = (await answer.body.json()) as { data: { result: { value: [number, string] }[] } }
  return data.result[0] && Number(data.result[0].value[1])
}

const ROOT = join(import.meta.dirname, '../../../..')

test('the manual lists the metrics that there are', async () => {
  const { text } = await scrape(here.manager.token)
  const rows = [...text.matchAll(/^# HELP (gleaner_\w+) (.*)\n# TYPE \w+ (\w+)$/gm)]
    .map(([, name, help, type]) => `| \`${name}\` | ${type} | ${help} |`)
    .sort()
  const page = await readFile(join(ROOT, 'docs/metrics.md'), 'utf8')
  const table = page.slice(page.indexOf('<!-- metrics'), page.indexOf('<!-- end of metrics'))
  const listed = table
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.replace(/ +/g, ' '))
  assert.deepEqual(listed, rows, `docs/metrics.md should have:\n${rows.join('\n')}`)
})

test('the alert rules are rules to Prometheus, and they and the dashboard use metrics that there are', async () => {
  const rules = join(ROOT, 'templates/prometheus-alerts.yml')
  execFileSync('promtool', ['check', 'rules', rules])
  const { text } = await scrape(here.manager.token)
  const known = new Set([...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name))
  const used = [
    await readFile(rules, 'utf8'),
    await readFile(join(ROOT, 'templates/grafana-dashboard.json'), 'utf8'),
  ]
    .flatMap((file) => [...file.matchAll(/\b(gleaner|nodejs)_[a-z_0-9]+/g)])
    .map(([name]) => name.replace(/_bucket$/, ''))
  assert.ok(used.length > 20)
  for (const name of used) assert.ok(known.has(name), name)
})
