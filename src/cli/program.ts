import { Command } from 'commander'
import { addAttach } from './commands/pilots/attach.ts'
import { addBackup } from './commands/backup.ts'
import { addBundle } from './commands/bundle.ts'
import { addCancel } from './commands/jobs/cancel.ts'
import { addContext } from './commands/context.ts'
import { addDashboard } from './commands/dashboard.ts'
import { addErrors } from './commands/jobs/errors.ts'
import { addEvents } from './commands/events.ts'
import { addRelay } from './commands/pilots/relay.ts'
import { addExec } from './commands/pilots/exec.ts'
import { addForget } from './commands/jobs/forget.ts'
import { addInit } from './commands/init.ts'
import { addJobs } from './commands/jobs/jobs.ts'
import { addKey } from './commands/key.ts'
import { addLogs } from './commands/jobs/logs.ts'
import { addReport } from './commands/jobs/report.ts'
import { addResults } from './commands/jobs/results.ts'
import { addRetry } from './commands/jobs/retry.ts'
import { addPython } from './commands/python.ts'
import { addRun } from './commands/jobs/run.ts'
import { addDoctor } from './commands/sites/doctor.ts'
import { addCompletion } from './commands/shell/completion.ts'
import { addConfig } from './commands/shell/config.ts'
import { addExplain } from './commands/sites/explain.ts'
import { addLogin } from './commands/sites/login.ts'
import { addSites } from './commands/sites/sites.ts'
import { addWorkers } from './commands/sites/workers.ts'
import { addTop } from './commands/top.ts'
import { addStart } from './commands/start.ts'
import { addStatus } from './commands/status.ts'
import { addReload } from './commands/reload.ts'
import { addStop } from './commands/stop.ts'
import { addSubmit } from './commands/jobs/submit.ts'
import { silenceNotes } from './views/terminal.ts'
import { version } from './version.ts'

/** The `factory` command with all that it can do. */
export function createProgram(): Command {
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
    addTop,
    addDashboard,
    addReload,
    addStop,
    addJobs,
    addResults,
    addReport,
    addErrors,
    addDoctor,
    addExplain,
    addSites,
    addWorkers,
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
    addRelay,
    addPython,
    addConfig,
    addCompletion,
  ]
  for (const add of commands) add(program)
  pointToHelp(program, 'factory')
  addQuiet(program)
  return program
}

/** Has each command keep quiet if told to. */
function addQuiet(command: Command): void {
  const isHidden = command.name() === 'complete'
  if (command.commands.length === 0 && !isHidden && !command.options.some(({ long }) => long === '--quiet'))
    command.option('--quiet', 'say nothing but results and what went wrong')
  command.hook('preAction', (_, action) => {
    if (action.opts<{ quiet?: boolean }>().quiet) silenceNotes()
  })
  for (const sub of command.commands) addQuiet(sub)
}

/** Has each command end its complaints with the way to its own help. */
function pointToHelp(command: Command, name: string): void {
  const says = command.commands.length > 0 ? 'lists the commands' : 'says how it is used'
  command.showHelpAfterError(`(${name} --help ${says})`)
  for (const sub of command.commands) pointToHelp(sub, `${name} ${sub.name()}`)
}
