import type { Finding } from '../../doctor/doctor.ts'
import { oneLine } from '../exit/failure.ts'
import { styled } from './terminal.ts'

const STYLES = { ok: 'green', warning: 'yellow', error: 'red' } as const

/** A finding as text for a terminal: a line, and two more for what is not well. */
export function findingText({ check, site, verdict, text, why, fix }: Finding): string {
  const about = site === undefined ? check : `${site} ${check}`
  const head = `${styled(verdict.padEnd(7), STYLES[verdict])}  ${about}: ${oneLine(text)}`
  const more = [why && `why: ${oneLine(why)}`, fix && `do:  ${oneLine(fix)}`].filter(Boolean)
  return [head, ...more.map((line) => `         ${line}`)].join('\n')
}
