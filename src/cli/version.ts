import { readFileSync } from 'node:fs'

/** The version of the package this file belongs to, whether it runs from sources or compiled. */
export const version = readVersion()

function readVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
