import { InvalidArgumentError, type Command } from 'commander'
import {
  connect,
  InputError,
  stateFolder,
  type Client,
  type ConnectOptions,
  type Job,
} from '../client/index.ts'

/** The state folder that a command was told to use, absolute. */
export function stateOf(command: Command): string {
  return stateFolder(command.optsWithGlobals<{ state?: string }>().state)
}

/** A client for the factory on the command's state folder. */
export function clientFor(command: Command, options: ConnectOptions = {}): Client {
  return connect({ state: stateOf(command), ...options })
}

/** The job of that number or name. @throws InputError if there is none */
export async function findJob(client: Client, wanted: string): Promise<Job> {
  const found = (await client.jobs()).find(({ id, name }) => String(id) === wanted || name === wanted)
  if (!found) throw new InputError(`there is no job ${wanted}: "factory jobs" lists them`)
  return client.job(found.id)
}

/** Parses an option that is a whole number of at least `min`. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^-?\d+$/.test(text) || value < min) {
      throw new InvalidArgumentError(`It must be a whole number of at least ${min}.`)
    }
    return value
  }
}

/** Parses an option in seconds, fractions allowed, as milliseconds. */
export function seconds(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0)
    throw new InvalidArgumentError('It must be a number of seconds above 0.')
  return Math.ceil(value * 1000)
}
