import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * A program of this package, which lies elsewhere where each is bundled into one file than as source, or compiled.
 *
 * @param module the URL of the module that looks for it
 * @param candidates where it may be, relative to that: the first that exists is it
 */
export function findProgram(what: string, module: string, candidates: readonly string[]): string {
  const paths = candidates.map((candidate) => fileURLToPath(new URL(candidate, module)))
  const found = paths.find((path) => existsSync(path))
  if (found === undefined) throw new Error(`${what} is missing: none of ${paths.join(', ')} exists`)
  return found
}
