import { parseArgs } from 'node:util'
import { measureSubmission } from './remote/submission.ts'

/*
 * What it costs that the batch system is elsewhere: a submission through a real sshd behind a link of so many milliseconds each way and
 * so many megabits a second, beside the same on this machine.
 *
 *   npm run bench:remote [-- --delay 20 --mbit 100 --pilots 100 --repeats 5]
 */

const { values } = parseArgs({
  options: {
    /** One way, milliseconds. */
    delay: { type: 'string', default: '20' },
    mbit: { type: 'string', default: '100' },
    pilots: { type: 'string', default: '100' },
    repeats: { type: 'string', default: '5' },
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
console.log(JSON.stringify({ submission: { ...submission, more } }))
