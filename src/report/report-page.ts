import { count, duration } from '../common/plain/quantity-text.ts'
import { poolName, type Report, totalOf } from './make-report.ts'
import { barChart, lineChart, stackedChart } from './charts.ts'
import { escapeHtml } from './escape-html.ts'
import {
  energyLines,
  evictionLines,
  headline,
  PHASES,
  savingLines,
  share,
  siteHours,
  slotHours,
  wattHours,
} from './report-sentences.ts'

/** Rows of a table; the rest is left out. */
const MOST_ROWS = 20
/** Bars of slot time beside the one of all. */
const MOST_BARS = 8

/** A report as one page of HTML that needs nothing else: no script, no font, no request. */
export function reportPage(report: Report, version: string): string {
  const { job, from, to } = report
  const title = `Job ${job.id}: ${job.name}`
  const span = { from, to }
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${STYLES}</style>
</head>
<body>
<main>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="sub">${escapeHtml(`${job.function} of ${job.context}, ${job.state}, ${date(from)} to ${date(to)}`)}</p>
</header>
${paragraphs(headline(report))}
${figures(report)}
${section('Workers over time', stackedChart({ title: 'Workers', unit: 'workers by site and kind of slots', ...span, steps: report.workers }))}
${section('Inferences over time', lineChart({ title: 'Tasks that have ended', unit: 'tasks', ...span, steps: report.progress, order: report.job.failed > 0 ? ['done', 'failed'] : ['done'] }))}
${section('What slots did', stackedChart({ title: 'Slots', unit: 'slots by what they did', ...span, steps: report.slots, order: ['working', 'loading', 'fetching', 'idle'], classes: USES }))}
${section('Where slot time went', slotTime(report))}
${section('Evictions, and what they cost', paragraphs(evictionLines(report)))}
${section('What keeping the context saved', paragraphs(savingLines(report)))}
${section('Hours by site', paragraphs(energyLines(report)) + hours(report))}
${section('Slowest nodes', nodes(report))}
${section('Failures', failures(report))}
<footer>Made by Gleaner ${escapeHtml(version)} from the events in its ledger. Slot time is elapsed time times slots; it counts as inference
when results have come of it, and as lost if the worker was gone before.</footer>
</main>
</body>
</html>
`
}

/** What slots do has the colours of what their time goes into. */
const USES = { working: 'p-inference', loading: 'p-load', fetching: 'p-fetch', idle: 'p-idle' }

const section = (title: string, body: string) => `<section><h2>${escapeHtml(title)}</h2>${body}</section>`
const paragraphs = (lines: readonly string[]) => lines.map((line) => `<p>${escapeHtml(line)}</p>`).join('')
const date = (ms: number) => new Date(ms).toISOString().slice(0, 19).replace('T', ' ') + ' UTC'

/** The figures that are asked for first. */
function figures({ job, from, to, spent, taken, workers }: Report): string {
  const most = Math.max(
    0,
    ...workers.map(({ values }) => Object.values(values).reduce((sum, n) => sum + n, 0)),
  )
  const seconds = Math.max(0.001, (to - from) / 1000)
  const shown = [
    [count(job.done), 'tasks done'],
    [count(Number(((job.done + job.failed) / seconds).toPrecision(3))), 'tasks a second'],
    [duration(to - from), 'from submission to end'],
    [count(most), 'workers at most'],
    [count(taken.evicted.workers + taken.lost.workers), 'workers taken away'],
    [share(spent.inference, totalOf(spent)), 'of slot time was inference'],
  ]
  const items = shown.map(
    ([value, name]) => `<div><dd>${escapeHtml(value!)}</dd><dt>${escapeHtml(name!)}</dt></div>`,
  )
  return `<dl class="figures">${items.join('')}</dl>`
}

function slotTime({ pools, spent }: Report): string {
  if (totalOf(spent) === 0) return '<p>No slot time was measured.</p>'
  const bySize = [...pools].sort((a, b) => totalOf(b.spentMs) - totalOf(a.spentMs)).slice(0, MOST_BARS)
  const all = { name: 'all', spentMs: spent }
  const bars = [all, ...bySize.map((pool) => ({ name: poolName(pool), spentMs: pool.spentMs }))]
  const shown = pools.length > 1 ? bars : bars.slice(0, 1)
  const chart = barChart(
    'Where slot time went',
    shown.map(({ name, spentMs }) => ({
      name,
      parts: PHASES.map(([phase, called]) => ({
        name: called,
        value: spentMs[phase],
        label: slotHours(spentMs[phase]),
        class: `p-${phase}`,
      })),
    })),
  )
  const legend = PHASES.map(
    ([phase, called]) => `<li class="p-${phase}">${called} ${escapeHtml(slotHours(spent[phase]))}</li>`,
  )
  return `${chart}<ul class="legend">${legend.join('')}</ul>`
}

function hours({ pools }: Report): string {
  const sites = siteHours(pools)
  const isTold = sites.some(({ energyJ }) => energyJ !== undefined)
  const rows = sites.map(({ site, kind, ms, usefulMs, energyJ }) => [
    ...[site, kind, slotHours(ms), slotHours(usefulMs), share(usefulMs, ms)],
    ...(isTold ? [wattHours(energyJ)] : []),
  ])
  const headings = ['site', 'slots', 'time held', 'inference', 'share', ...(isTold ? ['energy'] : [])]
  return table(headings, rows, 'No slot time was measured.')
}

function nodes(report: Report): string {
  const rows = report.nodes.map(({ node, site, device, tasks, failed, meanMs }) => [
    node,
    site,
    device,
    count(tasks),
    count(failed),
    duration(meanMs),
  ])
  return table(['node', 'site', 'slots', 'tasks', 'failed', 'mean time of a task'], rows, 'No node is known.')
}

function failures({ errors }: Report): string {
  const rows = errors.errors.map(({ tasks, error, example }) => [
    count(tasks),
    `${error.name}: ${error.message}`.slice(0, 500),
    `${example.key}${example.node === undefined ? '' : ` on ${example.node}`}`,
  ])
  return table(['tasks', 'error', 'for example'], rows, 'No task failed.')
}

function table(headings: readonly string[], rows: readonly (readonly string[])[], empty: string): string {
  if (rows.length === 0) return `<p>${escapeHtml(empty)}</p>`
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`
  const left = rows.length - MOST_ROWS
  const more = left > 0 ? `<p class="sub">and ${count(left)} more</p>` : ''
  const body = rows.slice(0, MOST_ROWS).map((cells) => line(cells, 'td'))
  return `<div class="wide"><table><thead>${line(headings, 'th')}</thead><tbody>${body.join('')}</tbody></table></div>${more}`
}

const SERIES = ['#3b78c3', '#e08a2e', '#3a9d6e', '#c2504d', '#7d65b5', '#2f9fb0', '#b06c94', '#8b8b8b']
const PHASE_COLOURS = {
  inference: '#3a9d6e',
  load: '#e08a2e',
  fetch: '#3b78c3',
  boot: '#7d65b5',
  idle: '#a5adb6',
  lost: '#c2504d',
}

const STYLES = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2430;--soft:#5b6675;--line:#e2e6eb;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--bg:#14181f;--fg:#e4e8ee;--soft:#9aa5b4;--line:#2c333e;--card:#1b212a}}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0;overflow-wrap:anywhere}h2{font-size:18px;margin:38px 0 10px}p{margin:4px 0;overflow-wrap:anywhere}
.sub,footer{color:var(--soft)}header{margin-bottom:14px}footer{margin-top:44px;border-top:1px solid var(--line);padding-top:12px;font-size:13px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px;margin:18px 0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px;display:flex;flex-direction:column}
dd{margin:0;font-size:21px;font-weight:600}dt{color:var(--soft);font-size:13px}
svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:var(--soft)}svg text.in{fill:#fff;font-weight:600}
.grid line{stroke:var(--line)}path[class^=l]{fill:none;stroke-width:2}
.legend{list-style:none;margin:6px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px}
.legend li::before{content:"";display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px;background:var(--c)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500;font-size:13px}
${SERIES.map((colour, i) => `.s${i}{--c:${colour};fill:${colour};fill-opacity:.85}.l${i}{stroke:${colour}}`).join('')}
${Object.entries(PHASE_COLOURS)
  .map(([phase, colour]) => `.p-${phase}{--c:${colour};fill:${colour}}`)
  .join('')}
@media print{main{max-width:none}}
`
