/** How a command's process exits. docs/cli.md has the same table; a test compares the two. */
export const exitCodes = {
  /** Everything that was asked for was done. */
  done: 0,
  /** It failed, or a task of a run did. */
  failed: 1,
  /** What was given is wrong, and nothing was changed because of it. */
  badInput: 2,
  /** "factory doctor" found warnings, and no errors. */
  warnings: 3,
  /** It was interrupted: Ctrl-C, SIGTERM, or a closed terminal. */
  interrupted: 130,
  /** The command of a shell in a pilot was not run, or was cut off: its own code is passed on otherwise. */
  notRun: 255,
} as const
