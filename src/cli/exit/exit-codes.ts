/** How a command's process exits; docs/cli.md has the same table. */
export const exitCodes = {
  done: 0,
  failed: 1,
  badInput: 2,
  warnings: 3,
  interrupted: 130,
  /** The command of a shell in a pilot was not run, or was cut off: its own code is passed on otherwise. */
  notRun: 255,
} as const

/** What each means, for people. */
export const exitCodeMeanings: Record<keyof typeof exitCodes, string> = {
  done: 'everything that was asked for was done',
  failed: 'it failed, or a task of a run did; `factory doctor` found errors',
  badInput: 'what was given is wrong, and nothing was done because of it',
  warnings: '`factory doctor` found warnings, and no errors',
  notRun: '`factory exec` could not run the command at all; else it ends as that did',
  interrupted: 'it was interrupted: Ctrl-C, SIGTERM, or a closed terminal',
}
