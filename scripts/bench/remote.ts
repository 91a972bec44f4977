import { parseArgs } from 'node:util'
import { isContained, runContained } from '../support/contained.ts'
import { measureContext, measureDispatch, measureEcho } from './remote/relayed-pilots.ts'
import { measureSubmission } from './remote/submission.ts'

/*
 * What it costs that the cluster is elsewhere, behind a link of so many milliseconds each way and so many megabits a second, and its
 * nodes cannot reach the manager: a submission through a real sshd beside the same on this machine; calls, a context and a terminal
 * through a relay. Takes root: login node and nodes are network namespaces, without a route between nodes and this machine.
 *
 *   npm run bench:remote [-- --only submission,dispatch,context,echo]
 *     [--delay 20 --mbit 100 --pilots 100 --repeats 5 --calls 20000 --nodes 16 --megabytes 256]
 */

const { values } = parseArgs({
  options: {
    /** Parts, by their names in the last line. */
    only: { type: 'string', default: 'submission,dispatch,context,echo' },
    /** One way, milliseconds. */
    delay: { type: 'string', default: '20' },
    mbit: { type: 'string', default: '100' },
    pilots: { type: 'string', default: '100' },
    repeats: { type: 'string', default: '5' },
    calls: { type: 'string', default: '20000' },
    nodes: { type: 'string', default: '16' },
    megabytes: { type: 'string', default: '256' },
  },
})
const link = { delay: Number(values.delay), rate: (Number(values.mbit) * 1e6) / 8 }
/** Share of the processors in use from which on these are what is measured; and how many pilots this machine can play beside the rest. */
const BUSY = 0.95
const FEW = 4
const seconds = (value: number) => `${value.toFixed(2)} s`

const parts: Record<string, () => Promise<object>> = {
  async submission() {
    const measured = await measureSubmission(Number(values.pilots), Number(values.repeats), link)
    const { pilots, remote, local, remoteFirst } = measured
    const more = remote - local
    console.log(
      `a submission of ${pilots} pilots, ${values.delay} ms each way: ${seconds(remote)} over SSH, ${seconds(local)} on this machine, ` +
        `${seconds(more)} more (goal: 1 s); the first, which opens the connection: ${seconds(remoteFirst)}`,
    )
    return { ...measured, more }
  },
  async dispatch() {
    const dispatch = await measureDispatch(link, Number(values.calls))
    const { relay, direct, share } = dispatch
    console.log(
      `calls/s of two pilots: ${relay} through the relay, ${direct} directly, ${share.toFixed(2)} of it (goal: 0.8)`,
    )
    return dispatch
  },
  async context() {
    const [nodes, megabytes] = [Number(values.nodes), Number(values.megabytes)]
    const context = await measureContext(link, nodes, megabytes)
    const spent = Object.entries(context.processorSeconds).map(([role, taken]) => `${role} ${seconds(taken)}`)
    console.log(
      `a context of ${context.megabytes} MiB at ${context.pilots} pilots: ${seconds(context.seconds)} (goal: ${seconds(context.goal)}); ` +
        `${context.crossed} times its bytes crossed the wide link; ${Math.round(context.processors * 100)} % of this machine's processors, ` +
        `which are those of all the nodes, were in use: ${spent.join(', ')}`,
    )
    if (context.processors < BUSY || nodes <= FEW) return { ...context, bound: 'link' }
    // That many wait for this machine, which a real cluster does not have them do: so many as it can play show what the link allows.
    const few = await measureContext(link, FEW, megabytes)
    console.log(`the processors were the bound; with ${FEW} pilots: ${seconds(few.seconds)}`)
    return { ...context, bound: 'processors', few }
  },
  async echo() {
    const echo = await measureEcho(link, Number(values.megabytes))
    const { median, slowest, goal, whileFetching } = echo
    console.log(
      `a key in a terminal, until its echo: ${median.toFixed(0)} ms, at most ${slowest.toFixed(0)} ms; while a context crosses the link: ` +
        `${whileFetching.median.toFixed(0)} ms, at most ${whileFetching.slowest.toFixed(0)} ms (goal: ${goal} ms)`,
    )
    return echo
  },
}

const wanted = values.only.split(',')
const unknown = wanted.find((part) => !(part in parts))
if (unknown !== undefined)
  throw new Error(`--only ${unknown}: expected some of ${Object.keys(parts).join(', ')}`)
if (isContained) {
  const figures: Record<string, object> = {}
  for (const part of wanted) figures[part] = await parts[part]!()
  console.log(JSON.stringify(figures))
} else process.exitCode = await runContained()
