import { parseArgs } from 'node:util'
import { makeState, removeState } from '../test/support/manager.ts'
import { soak } from './soak/soak.ts'

/*
 * Kills a manager with SIGKILL again and again while clients submit and workers report, and compares its ledger with what
 * each of them was told: no acknowledged task or result may be lost, none doubled, and the order never changes.
 */

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' } },
})
const kills = Number(values.kills)
const seed = Number(values.seed)
if (!Number.isInteger(kills) || kills < 1 || !Number.isInteger(seed)) {
  console.error('usage: soak-kills [--kills N] [--seed N]')
  process.exit(2)
}

const folder = await makeState()
const startedAt = performance.now()
const seconds = () => Math.round((performance.now() - startedAt) / 1000)
try {
  const { problems, ...counts } = await soak({
    folder,
    kills,
    seed,
    onKill(kill, { acknowledged, results }) {
      if (kill % 10 !== 0 && kill !== kills) return
      const tasks = [...acknowledged.values()].reduce((sum, keys) => sum + keys.size, 0)
      console.log(`${kill} kills in ${seconds()} s: ${tasks} tasks and ${results} results acknowledged`)
    },
  })
  for (const problem of problems) console.log(`WRONG ${problem}`)
  console.log(JSON.stringify({ ...counts, problems: problems.length, seconds: seconds() }))
  if (problems.length > 0) process.exitCode = 1
} finally {
  await removeState(folder)
}
