import { setTimeout as delay } from 'node:timers/promises'
import { isGone, readEndpoint } from '../../client/endpoint.ts'

const LOOK_MS = 100

/** Asks the factory on a state folder to stop and resolves when it has: it takes back its endpoint.json last of all. */
export async function waitUntilStopped(state: string, stop: () => Promise<void>): Promise<void> {
  const endpoint = readEndpoint(state)
  await stop()
  while (endpoint && !isGone(endpoint) && readEndpoint(state)?.pid === endpoint.pid) await delay(LOOK_MS)
}
