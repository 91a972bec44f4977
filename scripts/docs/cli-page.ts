import type { Command, Help } from 'commander'
import { createProgram } from '../../src/cli/program.ts'
import { exitCodeMeanings, exitCodes } from '../../src/cli/exit/exit-codes.ts'
import { markdownTable } from './config-tables.ts'

/** docs/cli.md: every command, as its own help has it. */
export async function cliPage(): Promise<string> {
  const program = await createProgram()
  const help = program.createHelp()
  const commands = leaves(program, help)
  const index = markdownTable(
    ['command', 'what it does'],
    commands.map(({ path, command }) => [`[\`${path}\`](#${path.replaceAll(' ', '-')})`, summaryOf(command)]),
  )
  const sections = commands.map(({ path, command }) => section(path, command, help))
  const codes = markdownTable(
    ['code', 'meaning'],
    Object.entries(exitCodes).map(([name, code]) => [
      String(code),
      exitCodeMeanings[name as keyof typeof exitCodes],
    ]),
  )
  return `# Commands

Every command of \`factory\`, as \`factory COMMAND --help\` has it. This page is written by \`npm run docs\` from the commands themselves.

## Everywhere

${options(program, help)}

\`--json\` prints one JSON document (or one a line, where it says so) on standard output, in the shape that
[docs/json.md](json.md) has for it: names and meanings stay. Notes and progress go to standard error, results to standard output. \`--quiet\` leaves
only what went wrong on standard error. Colours are for terminals only; \`NO_COLOR\` turns them off. A first Ctrl-C ends a command in good order,
a second one at once; of \`factory start\`, the first removes the pilots, and \`factory stop --drain\` lets them finish first.

A job is named by its number, or by its name, which stands for the latest one of that name.

${codes}

${index}

${sections.join('\n\n')}
`
}

/** All commands that can be given, by what is typed. */
export async function cliCommands(): Promise<Leaf[]> {
  const program = await createProgram()
  return leaves(program, program.createHelp())
}

interface Leaf {
  path: string
  command: Command
}

function leaves(command: Command, help: Help, path = 'factory'): Leaf[] {
  return help.visibleCommands(command).flatMap((sub) => {
    const name = `${path} ${sub.name()}`
    return sub.commands.length > 0 ? leaves(sub, help, name) : [{ path: name, command: sub }]
  })
}

const summaryOf = (command: Command) => command.summary() || command.description()

function section(path: string, command: Command, help: Help): string {
  const usage = `${path} ${command.usage()}`.replace('[options] ', '').replace(/ ?\[options\]$/, '')
  const args = help
    .visibleArguments(command)
    .map((argument) => `- \`${argument.name()}\`: ${argument.description}`)
  const rest = options(command, help)
  return [
    `## ${path}`,
    `\`${usage}\``,
    command.description().replace(/^[a-z]/, (first) => first.toUpperCase()),
    args.join('\n'),
    rest,
  ]
    .filter(Boolean)
    .join('\n\n')
}

function options(command: Command, help: Help): string {
  const shown = help.visibleOptions(command).filter(({ long }) => long !== '--help')
  return shown.map((option) => `- \`${option.flags}\`: ${help.optionDescription(option)}`).join('\n')
}
