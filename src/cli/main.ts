import type { Command } from 'commander'
import { createProgram } from './program.ts'
import { toFailure } from './exit/failure.ts'
import { cleanOutput, writeFailure } from './views/terminal.ts'

/** The `factory` command. Whatever goes wrong becomes one line on standard error and an exit code that is not 0. */
export async function main(argv: string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) cleanOutput(stream)
  // A person who pipes the output into `head` has seen enough.
  process.stdout.on('error', () => process.exit())
  try {
    const words = argv.slice(2)
    const program = await createProgram(words)
    refuseUnknown(program, words)
    await program.parseAsync(argv)
  } catch (error) {
    const { message, exitCode } = toFailure(error)
    if (message) writeFailure(`factory: ${message}`)
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
