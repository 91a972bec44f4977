import type { FactoryEvent } from '../protocol/events.ts'

/** A table of events as CSV (RFC 4180): one column for each field that any of them has; what has parts is JSON. */
export function eventsCsv(events: readonly FactoryEvent[]): string {
  const columns = ['cursor', 'at', 'time', 'type']
  for (const event of events)
    for (const key of Object.keys(event)) if (!columns.includes(key)) columns.push(key)
  const lines = events.map((event) => {
    const values: Record<string, unknown> = { ...event, time: new Date(event.at).toISOString() }
    return columns.map((column) => cell(values[column])).join(',')
  })
  return [columns.join(','), ...lines, ''].join('\r\n')
}

function cell(value: unknown): string {
  if (value === undefined) return ''
  if (typeof value === 'number') return String(value)
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  // A spreadsheet would take such a text for a formula.
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
