import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Client } from '../../client/index.ts'
import { InputError } from '../../client/errors.ts'
import { onInterrupt } from '../exit/interrupt.ts'
import { clientFor, wholeNumber } from '../options/common-options.ts'
import { writeRaw } from '../views/terminal.ts'
import { CLOSE, createScreen, OPEN } from '../top/screen.ts'
import { keysIn, press, START, type TopState } from '../top/state.ts'
import { rowsOf, type TopData, topLines } from '../top/view.ts'

export function define(command: Command): void {
  command
    .description(
      'Shows jobs, sites and workers on the whole terminal, and goes on doing so. 1, 2 and 3 choose the list, the arrows a row, Enter ' +
        'opens it; s sorts by the next column, r the other way round, / filters, q quits. Only what has changed is written.',
    )
    .option('--interval <seconds>', 'time between two looks', wholeNumber(1, 3600), 1)
    .action(async ({ interval }: { interval: number }, command: Command) => {
      if (!process.stdout.isTTY || !process.stdin.isTTY)
        throw new InputError('"factory top" needs a terminal: "factory status --json" is for programs')
      await using client = clientFor(command)
      await watch(client, interval * 1000)
    })
}

async function watch(client: Client, intervalMs: number): Promise<void> {
  const { stdin, stdout } = process
  using interrupted = onInterrupt()
  let state: TopState = START
  let data: TopData = { status: await client.status({ signal: interrupted }) }
  const screen = createScreen()
  const over = new AbortController()
  const draw = () => {
    if (over.signal.aborted) return
    const { rows, columns } = stdout
    const text = screen.draw(topLines(state, data, rows, columns), rows, columns)
    if (text !== '') writeRaw(stdout, text)
  }
  const resize = () => {
    screen.reset()
    draw()
  }
  const keyed = (text: string) => {
    for (const key of keysIn(text))
      state = press(
        state,
        key,
        rowsOf(state, data.status).map(({ id }) => id),
      )
    if (state.quit) over.abort()
    draw()
  }
  interrupted.addEventListener('abort', () => over.abort())
  writeRaw(stdout, OPEN)
  stdin.setRawMode(true).setEncoding('utf8').on('data', keyed)
  stdout.on('resize', resize)
  try {
    while (!over.signal.aborted) {
      draw()
      await delay(intervalMs, undefined, { signal: over.signal }).catch(() => {})
      data = await look(client, state, data)
    }
  } finally {
    stdout.off('resize', resize)
    stdin.off('data', keyed).setRawMode(false).pause()
    writeRaw(stdout, CLOSE)
  }
}

/** What there is now; while nothing can be asked, what there was, and why. */
async function look(client: Client, { tab, detail }: TopState, before: TopData): Promise<TopData> {
  const signal = AbortSignal.timeout(10_000)
  try {
    const status = await client.status({ signal })
    const explanation = detail === undefined ? undefined : await explain(client, tab, detail, signal)
    return { status, explanation }
  } catch (error) {
    return { ...before, notice: `no news: ${(error as Error).message}` }
  }
}

function explain(
  client: Client,
  tab: TopState['tab'],
  id: string,
  signal: AbortSignal,
): Promise<TopData['explanation']> {
  if (tab === 'workers') return Promise.resolve(undefined)
  const asked =
    tab === 'jobs' ? client.job(Number(id)).explain({ signal }) : client.explainSite(id, { signal })
  // It may be gone by now.
  return asked.catch(() => undefined)
}
