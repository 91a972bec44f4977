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
  /** It says that pilots of the site do not start: one that does shows that it is not so. */
  ifNoneStarts?: true
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

/** Has what says that a site's pilots do not start hold only as long as none does. */
export const unlessOneStarts = (finding: Finding): Finding =>
  finding.verdict === 'ok' ? finding : { ...finding, ifNoneStarts: true }

/** Whether one of these findings, those of a site's probes, is well: `probe` if a pilot came up, `probe-manager` if it reached this machine. */
export const isProven = (findings: readonly Finding[], proof: 'probe' | 'probe-manager'): boolean =>
  findings.some(({ check, verdict }) => check === proof && verdict === 'ok')

/** A finding as it is told: that it is well, if a pilot has started that it says would not. */
export function settle(
  { ifNoneStarts, why, fix, ...rest }: Finding,
  { hasStarted }: { hasStarted: boolean },
): Finding {
  if (ifNoneStarts && hasStarted)
    return {
      ...rest,
      verdict: 'ok',
      text: `${rest.text.replace(/\.$/, '')}; the probe's pilot started all the same.`,
    }
  return { ...rest, ...(why !== undefined && { why }), ...(fix !== undefined && { fix }) }
}
