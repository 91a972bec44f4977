import { Command } from 'commander'
import { commandList } from './command-list.ts'
import { silenceNotes } from './views/terminal.ts'
import { version } from './version.ts'

/**
 * The `factory` command with all that it can do.
 * @param words those of a command line: only commands that are among them are defined whole, the others have just their name and
 *   summary. Without words, all are whole.
 */
export async function createProgram(words?: readonly string[]): Promise<Command> {
  const program = new Command('factory')
    .description('Keeps pilots in batch queues and runs inference tasks on the nodes they get.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .option('--state <folder>', 'state folder (default: $GLEANER_STATE, or ~/.gleaner)')
    // Errors come back to main, which decides how the process exits.
    .exitOverride()
  for (const { name, summary, hidden = false, load } of commandList) {
    const command = program.command(name, { hidden }).summary(summary).description(summary).helpCommand(false)
    if (words === undefined || words.includes(name)) (await load()).define(command)
  }
  // What is not read yet has no arguments to list.
  program.configureHelp({ subcommandTerm: (command) => command.name() })
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
