/**
 * Stable codes of errors: what programs compare, and what people look up. Each has its place on docs/errors.md, which is made
 * of this table by `npm run docs`.
 */
export const errorCodes = {
  // --- commands and clients
  GLEANER_BAD_INPUT: {
    cause: 'What was given is wrong: a file, an option, or a name. Nothing was done because of it.',
    remedy: 'The message names the place and what is expected there; correct it and run the command again.',
  },
  GLEANER_CONFIG: {
    cause: 'factory.yaml, or a template that it names, is not valid.',
    remedy: 'The message names file, line and key, and the nearest valid one. See docs/configuration.md.',
  },
  GLEANER_NOT_RUNNING: {
    cause: 'No factory runs on this state folder.',
    remedy: 'Start one with `factory start`, or name its folder with `--state` or GLEANER_STATE.',
  },
  GLEANER_UNREACHABLE: {
    cause:
      'The manager could not be reached, or was too busy to answer, for as long as the caller kept trying.',
    remedy:
      'Look at `factory status` where the factory runs. A program elsewhere needs the address in endpoint.json to be reachable.',
  },
  GLEANER_PROTOCOL: {
    cause:
      'The answer is not understood: client, manager and pilots are of different versions, or something else answers there.',
    remedy: 'Install the same version on both sides; look at what listens on the address, e.g. a proxy.',
  },
  GLEANER_JOB_STUCK: {
    cause:
      'Nothing more of the job can run as things are, mostly because its context cannot be set up. Its tasks stay queued.',
    remedy:
      'Mend what the message says, add the context again, and run the same command again: it goes on where it stopped.',
  },
  GLEANER_OUTPUT_LOST: {
    cause: 'The output file was removed, replaced or cut while the run wrote it.',
    remedy: 'Run the same command again: what is missing is written anew from the ledger.',
  },
  GLEANER_REMOTE: {
    cause: 'A called function failed on a worker.',
    remedy:
      'The error is that of the function, with its remote stack; `factory logs JOB KEY` shows what it printed.',
  },
  GLEANER_DEPENDENCY: {
    cause: 'A call was not made because a call that it depends on failed.',
    remedy: 'Look at the cause that the error carries.',
  },
  GLEANER_SHELL: {
    cause: 'A shell in a pilot could not be opened, or was cut off: its command may have run in part.',
    remedy: 'The message says why. See docs/shells.md.',
  },
  // --- the manager's answers
  GLEANER_INVALID: {
    cause: 'A request breaks a schema or a limit.',
    remedy: 'The message names the key. If one of our own commands says so, the versions differ.',
  },
  GLEANER_NOT_FOUND: {
    cause: 'What the request names does not exist: a job, a task, a context, a bundle or a route.',
    remedy: '`factory jobs` and `factory context list` show what there is.',
  },
  GLEANER_CONFLICT: {
    cause: 'The request contradicts how things are, e.g. a name that is taken, or a job that was cancelled.',
    remedy: 'The message says what it contradicts, and what can be done instead.',
  },
  GLEANER_BUSY: {
    cause: 'Too much is asked for at once.',
    remedy: 'Clients try again by themselves; ask less often if it goes on.',
  },
  GLEANER_TOO_LARGE: {
    cause: 'A body or a value is larger than it may be.',
    remedy:
      'The message says how large it may be. Large values travel by themselves when our clients send them.',
  },
  GLEANER_NO_SPACE: {
    cause: 'The disk or the space for large values is full where the manager runs.',
    remedy:
      'Free space in the state folder, or forget jobs that are no longer needed (`factory forget JOB`).',
  },
  GLEANER_UNAUTHORISED: {
    cause: 'The token is missing, spent or revoked.',
    remedy:
      'Clients read it from the state folder, or from GLEANER_TOKEN. A pilot’s token works once for each start of its job.',
  },
  GLEANER_SIGNED_OUT: {
    cause: 'The browser is not signed in to the dashboard, or its login code is spent.',
    remedy: '`factory dashboard` prints an address that signs one browser in, once.',
  },
  GLEANER_FORBIDDEN: {
    cause:
      'Who asks is known, but may not do this: a viewer acts, or a page from elsewhere asks in its name.',
    remedy: '`factory dashboard` without `--viewer` opens a session that can act.',
  },
  GLEANER_SESSION_ENDED: {
    cause: 'The worker’s session has ended: its pilot was started again, removed, or has left.',
    remedy: 'Nothing: the worker ends, and its tasks are with others.',
  },
  GLEANER_INPUT_CHANGED: {
    cause: 'A task of that key exists with another input.',
    remedy:
      'Give the task another key, or have it replaced: `factory run` does so and says how many changed.',
  },
  GLEANER_RESULTS_REWOUND: {
    cause: 'Results were taken back, or an older copy of the ledger was put in place, since they were read.',
    remedy: 'Read them from the first; our clients do so by themselves.',
  },
  GLEANER_SHELL_NOT_ALLOWED: {
    cause: 'The site of the pilot does not allow shells.',
    remedy:
      'Set `shell: true` for it in factory.yaml, and `factory reload`; pilots submitted since then allow them. See docs/shells.md.',
  },
  GLEANER_INTERNAL: {
    cause: 'A defect of Gleaner.',
    remedy: 'Report it with the lines around it in factory.log, or of the pilot’s log.',
  },
  // --- the ledger and folders
  GLEANER_LEDGER_WRITE: {
    cause:
      'The ledger cannot be written: the disk or the quota is full, or the filesystem fails. Nothing was acknowledged.',
    remedy: 'Free space in the state folder; the manager goes on by itself.',
  },
  GLEANER_LEDGER_LOCKED: {
    cause: 'Another factory runs on this state folder, perhaps on another machine.',
    remedy: 'Stop it with `factory stop`, or give this one another `--state`.',
  },
  GLEANER_LEDGER_DAMAGED: {
    cause: 'The ledger is not a whole database: its file was cut, overwritten, or lost parts with the disk.',
    remedy:
      'Put a copy that `factory backup` made in its place. Without one, move ledger.db and ledger.db-wal away: the factory begins anew, and the jobs are gone.',
  },
  GLEANER_CERTIFICATE: {
    cause: 'manager.crt and manager.key in the state folder are not a certificate and its key.',
    remedy:
      'Put both back from a backup. Or remove both: the next start makes new ones, which pilots that are in the queue or run do not trust, so that these have to be submitted anew.',
  },
  GLEANER_LEDGER_VERSION: {
    cause: 'The ledger was written by a newer version.',
    remedy: 'Install that version again; ledgers are brought up to date, never back.',
  },
  GLEANER_UNSAFE_PATH: {
    cause: 'A folder or file that must be private could be changed by others, or belongs to another user.',
    remedy:
      'The message names it and its owner; choose another folder, or mend its owner and mode. See docs/folders.md.',
  },
  // --- bundles
  GLEANER_BUNDLE_MANIFEST: {
    cause: 'A bundle’s manifest is damaged or is that of another bundle.',
    remedy: 'Create the bundle again from its files.',
  },
  GLEANER_BUNDLE_INPUT: {
    cause: 'A file or folder cannot go into a bundle.',
    remedy: 'The message names it and why.',
  },
  GLEANER_BUNDLE_CHANGED: {
    cause: 'A file changed while it was read into a bundle.',
    remedy: 'Try again when nothing writes to it.',
  },
  GLEANER_BUNDLE_DAMAGED: {
    cause: 'What is on the disk, or what was received, is not what the manifest says.',
    remedy:
      '`factory bundle verify` at the place that the message names; remove the bundle there if it is damaged.',
  },
  GLEANER_BUNDLE_DISK: {
    cause: 'The disk refused to read or write a bundle.',
    remedy: 'The message names the folder and the reason.',
  },
  GLEANER_BUNDLE_IN_USE: {
    cause: 'The bundle is in use, so it cannot be removed.',
    remedy: 'Remove it when nothing holds it any more.',
  },
  GLEANER_BUNDLE_NO_ROOM: {
    cause: 'The bundle does not fit into the space that the store may take.',
    remedy: 'Free space, or raise the budget (`cache` of the site, `store` of the manager).',
  },
  GLEANER_BUNDLE_NOT_FOUND: {
    cause: 'The bundle, or a piece of it, is not there any more.',
    remedy: 'Add its context again with `factory context add PATH`.',
  },
  GLEANER_BUNDLE_UNSAFE_ARCHIVE: {
    cause: 'An archive holds entries that would leave its folder, or unpacks to more than it may.',
    remedy: 'Pack the archive anew, without absolute paths, links that lead outside, or devices.',
  },
  // --- pilots; the exit code of the worker says the same to pilot.sh
  GLEANER_PILOT_SETTINGS: {
    cause: 'The environment that pilot.sh left for the worker is incomplete or wrong.',
    remedy:
      'Submit through the site’s template; compare a changed template with the default one (`factory submit --dry-run SITE`).',
  },
  GLEANER_PILOT_NO_SPACE: {
    cause: 'There is no room on the node, or a folder cannot be written.',
    remedy: 'The message names filesystem and figures; set `cache` of the site to another folder.',
  },
  GLEANER_PILOT_UNREACHABLE: {
    cause: 'The pilot could not reach the manager for too long.',
    remedy: 'Set `manager.listen` to an address that compute nodes reach; look at proxies and firewalls.',
  },
  GLEANER_PILOT_REFUSED: {
    cause: 'The manager refused the pilot’s token, or has ended its session.',
    remedy:
      'Nothing, if the pilot was removed or started again. Otherwise two factories may share one job name.',
  },
} as const

export type ErrorCode = keyof typeof errorCodes

/** The stable code that an error carries, if it does. */
export function errorCodeOf(error: unknown): ErrorCode | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code in errorCodes ? (code as ErrorCode) : undefined
}
