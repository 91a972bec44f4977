/**
 * How smooth the dashboard is with a large factory: npm run bench:dashboard [-- WORKERS [SECONDS]]
 *
 * A made-up factory with as many pilots, eight slots each, and 1,000,000 tasks is served by the real server, and shown in headless
 * Chromium, which counts its frames and the tasks that held it up. The last line is JSON.
 */
import type { CDPSession, Page } from 'playwright-core'
import { chromium } from 'playwright-core'
import { serveWorld } from './dashboard/serve-dashboard.ts'
import { makeWorld } from './dashboard/simulated-factory.ts'

const [workers = 1_000, seconds = 20] = process.argv.slice(2).map(Number)
const SLOTS = 8
const TASKS = 1_000_000

/** Of the browser, in which `measure` runs. */
declare const requestAnimationFrame: (drawn: (time: number) => void) => number

interface Frames {
  frames: number
  ms: number
  /** The longest time between two frames, milliseconds. */
  longestMs: number
  /** Tasks of the page that took more than 50 ms, and their times. */
  longTasks: number[]
}

/** Counts frames and long tasks of a page for a while. */
const measure = (page: Page, ms: number): Promise<Frames> =>
  page.evaluate(async (ms) => {
    const longTasks: number[] = []
    const observer = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) longTasks.push(Math.round(duration))
    })
    observer.observe({ type: 'longtask' as 'measure' })
    const times: number[] = [performance.now()]
    while (times.at(-1)! - times[0]! < ms) {
      await new Promise((resolve) => requestAnimationFrame(resolve))
      times.push(performance.now())
    }
    observer.disconnect()
    const gaps = times.slice(1).map((time, i) => time - times[i]!)
    return { frames: gaps.length, ms: times.at(-1)! - times[0]!, longestMs: Math.max(...gaps), longTasks }
  }, ms)

/** Bytes that the page received, as they came over the wire. */
async function countBytes(session: CDPSession): Promise<{ received: number }> {
  const count = { received: 0 }
  await session.send('Network.enable')
  session.on('Network.dataReceived', ({ encodedDataLength }) => (count.received += encodedDataLength))
  return count
}

await using served = await serveWorld(makeWorld({ workers, slots: SLOTS, tasks: TASKS }, Date.now))
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  chromiumSandbox: process.getuid?.() !== 0,
})
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } })
  const bytes = await countBytes(await page.context().newCDPSession(page))
  const began = performance.now()
  await page.goto(await served.address())
  await page.locator('tr[data-worker]').first().waitFor()
  const shownMs = performance.now() - began
  const loaded = bytes.received
  // Once more than a tick, so that the first view is drawn.
  await measure(page, 2_000)
  const before = { bytes: bytes.received, cpu: process.cpuUsage() }
  const { frames, ms, longestMs, longTasks } = await measure(page, seconds * 1000)
  const cpu = process.cpuUsage(before.cpu)
  const result = {
    ...{ workers, slots: workers * SLOTS, tasks: TASKS },
    shownMs: Math.round(shownMs),
    loadedBytes: loaded,
    framesPerSecond: Number(((frames / ms) * 1000).toFixed(1)),
    longestFrameMs: Math.round(longestMs),
    longTasks: longTasks.length,
    longestTaskMs: Math.max(0, ...longTasks),
    bytesPerSecond: Math.round(((bytes.received - before.bytes) / ms) * 1000),
    serverCpuPercent: Number((((cpu.user + cpu.system) / 1000 / ms) * 100).toFixed(1)),
  }
  console.log(
    `${result.framesPerSecond} frames/s, the longest took ${result.longestFrameMs} ms; ${result.longTasks} long tasks, up to ${result.longestTaskMs} ms`,
  )
  console.log(
    `${result.bytesPerSecond} bytes/s; the server took ${result.serverCpuPercent} % of a processor, this program included`,
  )
  console.log(JSON.stringify(result))
} finally {
  await browser.close()
}
