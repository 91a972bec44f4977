import { createHash } from 'node:crypto'

/*
 * Nothing of a command is given to the login shell, which may be any: it gets one fixed line, which sh, csh and fish read alike, and
 * which has sh take its script from standard input. So neither arguments nor variables show in the far end's list of processes.
 */

/**
 * What has a login shell run a script: a line for it, and what goes to its standard input first. What follows there is the script's own.
 * A script that was cut off on its way is not run: its end is missing.
 */
export function sendable(script: string): { line: string; text: string } {
  const end = `#${createHash('sha256').update(script).digest('hex').slice(0, 16)}`
  const text = `${script}\n${end}`
  const take = `s=$(dd bs=1 count=${Buffer.byteLength(text)} 2>/dev/null)`
  return { line: `exec /bin/sh -c '${take}; case $s in *"${end}") eval "$s";; esac'`, text }
}

/** One word of a POSIX shell, whatever is in it. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

export type RemoteCommand = {
  command: readonly string[]
  cwd?: string
  /** Names of variables of the far end's own environment that stay. */
  kept: readonly string[]
  /** Variables that are set. */
  set: Readonly<Record<string, string>>
  /** Stands around what the command says, so that banners and messages of the day are not taken for it. */
  mark: string
}

/** A script that runs a command and tells how it ended. When its standard input ends before, it ends the command and all it started. */
export function commandScript({ command, cwd, kept, set, mark }: RemoteCommand): string {
  const [file = ''] = command
  const run = command.map(shellWord).join(' ')
  return [
    cleanEnvironment(kept, set),
    ...(cwd === undefined
      ? []
      : [`if ! cd ${shellWord(cwd)}; then printf '\\n%s missing %s\\n' ${mark} folder; exit; fi`]),
    `if ! command -v ${shellWord(file)} >/dev/null; then printf '\\n%s missing %s\\n' ${mark} "$PATH"; exit; fi`,
    marked(mark, attended(run)),
  ].join('\n')
}

/** A script of our own. Standard input is what is sent along. */
export const ownScript = (script: string, mark: string): string =>
  marked(mark, `(\nexport LC_ALL=C\n${script}\n)`)

const marked = (mark: string, run: string) =>
  [
    `printf '\\n%s begin\\n' ${mark}; printf '\\n%s begin\\n' ${mark} >&2`,
    run,
    `gleaner_code=$?; printf '\\n%s end\\n' ${mark} >&2; printf '\\n%s end %s\\n' ${mark} $gleaner_code`,
  ].join('\n')

/** A command that is given up, or whose connection breaks, must not go on by itself: not every server passes signals on. */
const attended = (run: string) =>
  [
    'exec 3<&0',
    `${run} </dev/null 3<&- & gleaner_command=$!`,
    '(read -r gleaner_line <&3; kill -KILL 0) >/dev/null 2>&1 & gleaner_watch=$!',
    'exec 3<&-',
    'wait $gleaner_command; gleaner_code=$?; kill $gleaner_watch',
    '(exit $gleaner_code)',
  ].join('\n')

/** Takes all variables out of the environment but those that are kept. */
function cleanEnvironment(kept: readonly string[], set: Readonly<Record<string, string>>): string {
  const names = `env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'`
  const clean = `for n in $(${names}); do case " ${kept.join(' ')} " in *" $n "*) ;; *) command unset "$n" 2>/dev/null;; esac; done`
  return [clean, ...Object.entries(set).map(([name, value]) => `export ${name}=${shellWord(value)}`)].join(
    '\n',
  )
}

export type RemoteAnswer =
  | { is: 'ended'; code: number; stdout: string; stderr: string }
  /** There is no such command, or no such folder. */
  | { is: 'missing'; what: string }
  /** It began, and nothing tells how it ended. */
  | { is: 'cut' }
  /** Nothing shows that it began; what was said instead. */
  | { is: 'silent'; said: string }

/** Reads what came back of a script. */
export function readAnswer(stdout: string, stderr: string, mark: string): RemoteAnswer {
  const missing = new RegExp(`^${mark} missing (.*)$`, 'm').exec(stdout)
  if (missing) return { is: 'missing', what: missing[1]! }
  const begin = `\n${mark} begin\n`
  const start = stdout.indexOf(begin)
  if (start < 0) return { is: 'silent', said: (stderr.trim() || stdout.trim()).slice(-500) }
  const rest = stdout.slice(start + begin.length)
  const end = new RegExp(`\n${mark} end (\\d+)\n`).exec(rest)
  if (!end) return { is: 'cut' }
  return {
    is: 'ended',
    code: Number(end[1]),
    stdout: rest.slice(0, end.index),
    stderr: between(stderr, mark),
  }
}

function between(text: string, mark: string): string {
  const start = text.indexOf(`\n${mark} begin\n`)
  const rest = start < 0 ? text : text.slice(start + mark.length + ' begin'.length + 2)
  const end = rest.lastIndexOf(`\n${mark} end\n`)
  return end < 0 ? rest : rest.slice(0, end)
}
