import type { Client } from '../../client/index.ts'
import { InputError } from '../../client/errors.ts'

/** The pilot that a user means by its own name (`p3`), or by that of its worker (`w3`). @throws {InputError} */
export async function findPilot(client: Client, name: string): Promise<string> {
  if (!name.startsWith('w')) return name
  const { workers } = await client.status()
  const found = workers.find(({ id }) => id === name)
  if (!found) throw new InputError(`there is no worker ${name} now: "factory status" lists those there are`)
  return found.pilot
}
