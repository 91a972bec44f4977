import type { Argument, Command, Option } from 'commander'

/** Names that only a factory, or what it has left on record, knows. */
export type Known = 'jobs' | 'sites' | 'contexts'

/** What may stand at a place of a command line. */
export interface Candidates {
  words: string[]
  /** Names to be looked up besides. */
  known: Known[]
  /** The shell's own completion of files may be used. */
  files: boolean
}

/** Names that arguments and options stand for, by what they are called in the help. */
const KNOWN: Record<string, Known[]> = {
  job: ['jobs'],
  site: ['sites'],
  name: ['contexts'],
  'job or site': ['jobs', 'sites'],
  context: ['contexts'],
}
const FILES = ['file', 'path', 'paths', 'folder', 'files']

/**
 * What may come at the end of a command line.
 * @param words those before it, without `factory` itself
 */
export function candidatesFor(program: Command, words: readonly string[]): Candidates {
  let command = program
  let given = 0
  let value: Option | undefined
  let onlyOperands = false
  for (const word of words) {
    if (value) value = undefined
    else if (word === '--') onlyOperands = true
    else if (word.startsWith('-') && !onlyOperands) {
      const option = optionsOf(command).find(({ long, short }) => word === long || word === short)
      value = option?.required || option?.optional ? option : undefined
    } else {
      const sub = given === 0 ? command.commands.find((each) => each.name() === word) : undefined
      if (sub) command = sub
      else given++
    }
  }
  if (value) return forPlace(placeOf(value.flags), value.argChoices)
  const argument = argumentAt(defaultOf(command), given)
  const place = argument
    ? forPlace(argument.name(), argument.argChoices)
    : { words: [], known: [], files: false }
  const subs = given === 0 ? visible(command) : []
  const flags = onlyOperands
    ? []
    : optionsOf(command).flatMap(({ long, hidden }) => (long && !hidden ? [long] : []))
  return { ...place, words: [...subs, ...place.words, ...flags, ...(onlyOperands ? [] : ['--help'])] }
}

const visible = (command: Command) =>
  command.commands.filter((sub) => !(sub as Command & { _hidden?: boolean })._hidden).map((sub) => sub.name())

/** Options that hold here: its own, and those of the commands around it. */
function optionsOf(command: Command): Option[] {
  const around = command.parent ? optionsOf(command.parent) : []
  return [...defaultOf(command).options, ...around]
}

/** The command that runs where only the name of its parent is given. */
function defaultOf(command: Command): Command {
  const name = (command as Command & { _defaultCommandName?: string | null })._defaultCommandName
  return command.commands.find((sub) => sub.name() === name) ?? command
}

function argumentAt(command: Command, index: number): Argument | undefined {
  const { registeredArguments: all } = command
  const last = all.at(-1)
  return all[index] ?? (last?.variadic ? last : undefined)
}

const placeOf = (flags: string) => /[<[]([^>\].]+)/.exec(flags)?.[1] ?? ''

function forPlace(name: string, choices: string[] | undefined): Candidates {
  if (choices) return { words: choices, known: [], files: false }
  return { words: [], known: KNOWN[name] ?? [], files: FILES.includes(name) }
}
