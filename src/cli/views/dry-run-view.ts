import type { DryRun } from '../../factory/submissions/dry-run.ts'
import { plural } from './format.ts'

/** Files that say nothing of a site: they come last, and whole only if they are asked for. */
const SAME_EVERYWHERE = ['ca.pem', 'pilot.sh']

/** What would be submitted: what a site's settings have made of it first. */
export function dryRunText({ folder, files, command }: DryRun, all: boolean): string {
  const isCommon = ({ name }: { name: string }) => SAME_EVERYWHERE.includes(name)
  const ordered = [...files.filter((file) => !isCommon(file)), ...files.filter(isCommon)]
  const parts = ordered.map((file) => {
    const { name, content } = file
    const lines = content.split('\n').length - 1
    const shown =
      content === ''
        ? '(empty)'
        : isCommon(file) && !all
          ? `(${plural(lines, 'line')}: see --all)`
          : content.trimEnd()
    return `==> ${folder}/${name} <==\n${shown}\n`
  })
  return [`==> command <==\n${command.join(' ')}\n`, ...parts].join('\n').trimEnd()
}
