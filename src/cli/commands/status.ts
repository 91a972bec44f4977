import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import { clientFor, stateOf } from '../options/common-options.ts'
import { onInterrupt } from '../exit/interrupt.ts'
import { statusText } from '../views/status-view.ts'

interface Options {
  json?: boolean
  watch?: boolean
}

const WATCH_MS = 1_000
const CLEAR = '\x1b[H\x1b[2J'

export function define(command: Command): void {
  command
    .description(
      'Shows what the factory is doing: tasks, jobs, sites with their pilots, workers with their contexts.',
    )
    .option('--json', 'print everything as JSON')
    .option('--watch', 'print again every second')
    .action(status)
}

async function status({ json, watch }: Options, command: Command): Promise<void> {
  await using client = clientFor(command, watch ? {} : { patienceMs: 0 })
  using interrupted = onInterrupt()
  const state = stateOf(command)
  do {
    const found = await client.status({ signal: interrupted })
    const text = json ? JSON.stringify(found, null, watch ? 0 : 2) : statusText(found, state)
    if (watch && !json && process.stdout.isTTY) process.stdout.write(CLEAR)
    console.log(text)
    if (watch) await delay(WATCH_MS, undefined, { signal: interrupted }).catch(() => {})
  } while (watch && !interrupted.aborted)
}
