import { parseArgs } from 'node:util'
import { measurePilots } from './remote/pilots.ts'
import { measureSubmission } from './remote/submission.ts'

/*
 * What it costs that the cluster is elsewhere, behind a link of so many milliseconds each way and so many megabits a second, and its
 * nodes cannot reach the manager: a submission through a real sshd beside the same on this machine; calls, a context and a terminal
 * through a relay. Takes root: login node and nodes are network namespaces, without a route between nodes and this machine.
 *
 *   npm run bench:remote [-- --delay 20 --mbit 100 --pilots 100 --repeats 5 --calls 20000 --nodes 16 --megabytes 256]
 */

const { values } = parseArgs({
  options: {
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

const submission = await measureSubmission(Number(values.pilots), Number(values.repeats), link)
const more = submission.remote - submission.local
const seconds = (value: number) => `${value.toFixed(2)} s`
console.log(
  `a submission of ${submission.pilots} pilots, ${values.delay} ms each way: ${seconds(submission.remote)} over SSH, ` +
    `${seconds(submission.local)} on this machine, ${seconds(more)} more; the first, which opens the connection: ${seconds(submission.remoteFirst)}`,
)
const { dispatch, context, echo } = await measurePilots(link, {
  calls: Number(values.calls),
  pilots: Number(values.nodes),
  megabytes: Number(values.megabytes),
})
console.log(
  `calls/s of two pilots: ${dispatch.relay} through the relay, ${dispatch.direct} directly, ${dispatch.share.toFixed(2)} of it (goal: 0.8)`,
)
console.log(
  `a context of ${context.megabytes} MiB at ${context.pilots} pilots: ${seconds(context.seconds)} (goal: ${seconds(context.goal)}); ` +
    `${context.crossed} times its bytes crossed the wide link`,
)
console.log(
  `a key in a terminal, until its echo: ${echo.median.toFixed(0)} ms, at most ${echo.slowest.toFixed(0)} ms (goal: ${echo.goal} ms)`,
)
console.log(JSON.stringify({ submission: { ...submission, more }, dispatch, context, echo }))
