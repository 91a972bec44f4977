import { Command } from 'commander'
import { addAttach } from './commands/attach.ts'
import { addBackup } from './commands/backup.ts'
import { addBundle } from './commands/bundle.ts'
import { addCancel } from './commands/cancel.ts'
import { addContext } from './commands/context.ts'
import { addDashboard } from './commands/dashboard.ts'
import { addErrors } from './commands/errors.ts'
import { addEvents } from './commands/events.ts'
import { addExec } from './commands/exec.ts'
import { addForget } from './commands/forget.ts'
import { addInit } from './commands/init.ts'
import { addJobs } from './commands/jobs.ts'
import { addKey } from './commands/key.ts'
import { addLogs } from './commands/logs.ts'
import { addResults } from './commands/results.ts'
import { addRetry } from './commands/retry.ts'
import { addPython } from './commands/python.ts'
import { addRun } from './commands/run.ts'
import { addDoctor } from './commands/sites/doctor.ts'
import { addExplain } from './commands/sites/explain.ts'
import { addLogin } from './commands/sites/login.ts'
import { addSites } from './commands/sites/sites.ts'
import { addStart } from './commands/start.ts'
import { addStatus } from './commands/status.ts'
import { addStop } from './commands/stop.ts'
import { addSubmit } from './commands/submit.ts'
import { toFailure } from './failure.ts'
import { cleanOutput } from './terminal.ts'
import { version } from './version.ts'

/** The `factory` command. Whatever goes wrong becomes one line on standard error and an exit code that is not 0. */
export async function main(argv: string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) cleanOutput(stream)
  // A person who pipes the output into `head` has seen enough.
  process.stdout.on('error', () => process.exit())
  try {
    const program = createProgram()
    refuseUnknown(program, argv.slice(2))
    await program.parseAsync(argv)
  } catch (error) {
    const { message, exitCode } = toFailure(error)
    if (message) console.error(`factory: ${message}`)
    if (process.env.GLEANER_DEBUG) console.error(error)
    process.exitCode = exitCode
  }
}

/** A command that is not there has no help to print: without this, its `--help` would print that of all and succeed. */
function refuseUnknown(command: Command, args: string[]): void {
  if (command.commands.length === 0) return
  const { operands, unknown } = command.parseOptions(args)
  const [name, ...rest] = operands
  if (name === undefined) return
  const found = command.commands.find((sub) => sub.name() === name)
  if (found) return refuseUnknown(found, [...rest, ...unknown])
  if (unknown.includes('--help') || unknown.includes('-h')) command.parse([name], { from: 'user' })
}

function createProgram(): Command {
  const program = new Command('factory')
    .description('Keeps pilots in batch queues and runs inference tasks on the nodes they get.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .option('--state <folder>', 'state folder (default: $GLEANER_STATE, or ~/.gleaner)')
    // Errors come back to main, which decides how the process exits.
    .exitOverride()
  const commands = [
    addInit,
    addStart,
    addRun,
    addStatus,
    addDashboard,
    addStop,
    addJobs,
    addResults,
    addErrors,
    addDoctor,
    addExplain,
    addSites,
    addEvents,
    addLogin,
    addLogs,
    addAttach,
    addExec,
    addRetry,
    addCancel,
    addForget,
    addContext,
    addBundle,
    addKey,
    addBackup,
    addSubmit,
    addPython,
  ]
  for (const add of commands) add(program)
  pointToHelp(program, 'factory')
  return program
}

/** Has each command end its complaints with the way to its own help. */
function pointToHelp(command: Command, name: string): void {
  const says = command.commands.length > 0 ? 'lists the commands' : 'says how it is used'
  command.showHelpAfterError(`(${name} --help ${says})`)
  for (const sub of command.commands) pointToHelp(sub, `${name} ${sub.name()}`)
}
