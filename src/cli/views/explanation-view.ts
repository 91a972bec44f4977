import type { JobExplanation, SiteExplanation } from '../../protocol/explanation.ts'
import { oneLine } from '../failure.ts'

/** An explanation as text for a terminal: how it stands, then a reason a line, each with what to do about it. */
export function explanationText({ summary, reasons }: JobExplanation | SiteExplanation): string {
  const lines = reasons.flatMap(({ text, advice }) => [
    `- ${oneLine(text)}`,
    ...(advice === undefined ? [] : [`  ${oneLine(advice)}`]),
  ])
  return [summary, ...lines].join('\n')
}
