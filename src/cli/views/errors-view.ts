import type { JobErrors } from '../../client/index.ts'
import { oneLine } from '../exit/failure.ts'
import { count, plural } from './format.ts'

/** Characters of an error that are shown. */
const SHOWN = 300

/** The commonest `most` errors of a job, one a line, each with how often there was one like it and a task as an example. */
export function errorLines({ failed, kinds, errors }: JobErrors, job: number, most: number): string[] {
  const shown = errors.slice(0, most)
  const lines = shown.map(({ tasks, error, example: { key, node } }) => {
    const text = oneLine(`${error.name}: ${error.message}`)
    const what = text.length > SHOWN ? `${text.slice(0, SHOWN - 1)}…` : text
    return `${count(tasks)} × ${what}  (e.g. task ${key}${node === undefined ? '' : ` on ${node}`})`
  })
  const rest = failed - shown.reduce((sum, { tasks }) => sum + tasks, 0)
  if (rest > 0) lines.push(`${count(rest)} × ${plural(kinds - shown.length, 'other kind')} of error`)
  const first = shown[0]?.example.key
  if (first !== undefined) lines.push(`"factory logs ${job} ${first}" shows what the first one printed`)
  return lines
}
