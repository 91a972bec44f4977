/** One thing that was looked at, and how it is. */
export interface Finding {
  /** What was looked at, the same over versions: `state-folder`, `slurm-limits`, … */
  check: string
  /** The site it is about. */
  site?: string
  verdict: 'ok' | 'warning' | 'error'
  /** What was found, in a sentence. */
  text: string
  /** Why it matters. */
  why?: string
  /** The line to change, or what to do. */
  fix?: string
}

/** What a command or a file said; undefined if it could not be asked. */
export type Said = string | undefined

/** Makes findings of one check, and of one site if it is of one. */
export function findingsOf(check: string, site?: string) {
  const about = site === undefined ? { check } : { check, site }
  return {
    ok: (text: string): Finding => ({ ...about, verdict: 'ok', text }),
    warning: (text: string, why: string, fix: string): Finding => ({
      ...about,
      verdict: 'warning',
      text,
      why,
      fix,
    }),
    error: (text: string, why: string, fix: string): Finding => ({
      ...about,
      verdict: 'error',
      text,
      why,
      fix,
    }),
  }
}
