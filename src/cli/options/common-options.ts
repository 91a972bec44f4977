import { InvalidArgumentError, type Command } from 'commander'
import type { Client, ConnectOptions, Job } from '../../client/index.ts'
import { connect } from '../../client/client.ts'
import { stateFolder } from '../../client/endpoint.ts'
import { InputError } from '../../client/errors.ts'
import { latestRun } from '../../client/run/run-identity.ts'
import { limits } from '../../protocol/primitives.ts'

/** The state folder that a command was told to use, absolute. */
export function stateOf(command: Command): string {
  return stateFolder(command.optsWithGlobals<{ state?: string }>().state)
}

/** A client for the factory on the command's state folder. */
export function clientFor(command: Command, options: ConnectOptions = {}): Client {
  return connect({ state: stateOf(command), ...options })
}

/** The job of that number, or the latest one of that name. @throws InputError if there is none */
export async function findJob(client: Client, wanted: string): Promise<Job> {
  const jobs = await client.jobs()
  const found = jobs.find(({ id }) => String(id) === wanted) ?? latestRun(jobs, wanted).latest
  if (!found) throw new InputError(`there is no job ${wanted}: "factory jobs" lists them`)
  return client.job(found.id)
}

/** Parses an option that is a whole number of at least `min` and at most `max`. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^-?\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
    }
    return value
  }
}

/** Parses an option in seconds, fractions allowed, as milliseconds. */
export function seconds(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value * 1000 <= limits.taskTime)) {
    throw new InvalidArgumentError(
      `It must be a number of seconds above 0, at most ${Math.floor(limits.taskTime / 1000)}.`,
    )
  }
  return Math.ceil(value * 1000)
}
