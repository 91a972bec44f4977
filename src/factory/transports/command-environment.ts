/**
 * Variables that commands of any batch system may need: to be found, to know whose they are, and to prove it. Everything
 * else stays behind: `SBATCH_ACCOUNT`, `SQUEUE_PARTITION` or `_CONDOR_…` would change what a command means against the
 * configuration, and an outer job's variables, `NODE_OPTIONS` or a secret would travel on into the pilots.
 */
export const KEPT_VARIABLES = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'LD_LIBRARY_PATH',
  'TZ',
  'KRB5CCNAME',
  'XDG_RUNTIME_DIR',
]

/**
 * The environment in which a batch system's commands run.
 * @param env the factory's own
 * @param kept names of more variables of it that this batch system's commands go by
 * @param set variables of the site's configuration; they take the place of others of their name
 */
export function commandEnvironment(
  env: Readonly<NodeJS.ProcessEnv>,
  kept: readonly string[] = [],
  set: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const inherited = [...KEPT_VARIABLES, ...kept].flatMap((name): [string, string][] => {
    const value = env[name]
    return value === undefined ? [] : [[name, value]]
  })
  // Messages are told apart by their wording.
  return { ...Object.fromEntries(inherited), LC_ALL: 'C', ...set }
}
