import type { Command } from 'commander'
import { candidatesFor, type Known } from '../../completion/candidates.ts'

/** Longest that a name is waited for, milliseconds: a person waits. */
const LIMIT_MS = 1_000
/** Names of jobs that are offered, the last ones. */
const JOBS_MOST = 100

export function define(complete: Command): void {
  complete
    .description('Prints the words that may come next, one a line; for the scripts of "factory completion".')
    .argument('[words...]', 'the words before')
    .action(async (words: string[], _options: object, command: Command) => {
      const { words: fixed, known, files } = candidatesFor(complete.parent ?? complete, words)
      const names = await Promise.all(known.map((kind) => lookUp(kind, command).catch(() => [])))
      console.log([...(files ? [':files'] : []), ...names.flat(), ...fixed].join('\n'))
    })
}

/** Names that a factory knows, if one runs; the sites are in its configuration. Most words need none of this code. */
async function lookUp(kind: Known, command: Command): Promise<string[]> {
  const { clientFor, stateOf } = await import('../../options/common-options.ts')
  if (kind === 'sites') {
    const { configFiles, loadConfig } = await import('../../../factory/config/load-config.ts')
    return loadConfig(configFiles(stateOf(command))).sites.map(({ name }) => name)
  }
  await using client = clientFor(command, { patienceMs: 0 })
  const signal = AbortSignal.timeout(LIMIT_MS)
  if (kind === 'contexts') return (await client.contexts({ signal })).map(({ name }) => name)
  const jobs = (await client.jobs({ signal })).slice(-JOBS_MOST)
  return jobs.flatMap(({ id, name }) => [String(id), name])
}
