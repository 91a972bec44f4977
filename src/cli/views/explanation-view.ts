import type { JobExplanation, SiteExplanation } from '../../protocol/explanation.ts'
import { oneLine } from '../exit/failure.ts'
import { traceText } from './trace-view.ts'

/** An explanation as text for a terminal: how it stands, then a reason a line, each with what to do about it. */
export function explanationText(explanation: JobExplanation | SiteExplanation): string {
  const { summary, reasons } = explanation
  const lines = reasons.flatMap(({ text, advice }) => [
    `- ${oneLine(text)}`,
    ...(advice === undefined ? [] : [`  ${oneLine(advice)}`]),
  ])
  const trace = 'traceparent' in explanation ? traceText(explanation.traceparent) : []
  return [summary, ...lines, ...trace.map((text) => `trace ${text}`)].join('\n')
}
