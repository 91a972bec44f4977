import { Argument, type Command } from 'commander'
import { candidatesFor, type Known } from '../../completion/candidates.ts'
import { scripts, type Shell, SHELLS } from '../../completion/scripts.ts'
import { configFiles, loadConfig } from '../../../factory/config/load-config.ts'
import { clientFor, stateOf } from '../../options.ts'

/** Longest that a name is waited for, milliseconds: a person waits. */
const LIMIT_MS = 1_000
/** Names of jobs that are offered, the last ones. */
const JOBS_MOST = 100

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .summary('print what has a shell complete the words of factory')
    .description(
      'Prints what has a shell complete commands, options, and the names of jobs, sites and contexts. In ~/.bashrc: ' +
        'source <(factory completion bash)',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell) => void process.stdout.write(scripts[shell]))
  program
    .command('complete', { hidden: true })
    .description('Prints the words that may come next, one a line; for the scripts of "factory completion".')
    .argument('[words...]', 'the words before')
    .action(async (words: string[], _options: object, command: Command) => {
      const { words: fixed, known, files } = candidatesFor(program, words)
      const names = await Promise.all(known.map((kind) => lookUp(kind, command).catch(() => [])))
      console.log([...(files ? [':files'] : []), ...names.flat(), ...fixed].join('\n'))
    })
}

/** Names that a factory knows, if one runs; the sites are in its configuration. */
async function lookUp(kind: Known, command: Command): Promise<string[]> {
  if (kind === 'sites') return loadConfig(configFiles(stateOf(command))).sites.map(({ name }) => name)
  await using client = clientFor(command, { patienceMs: 0 })
  const signal = AbortSignal.timeout(LIMIT_MS)
  if (kind === 'contexts') return (await client.contexts({ signal })).map(({ name }) => name)
  const jobs = (await client.jobs({ signal })).slice(-JOBS_MOST)
  return jobs.flatMap(({ id, name }) => [String(id), name])
}
