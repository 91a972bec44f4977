import type { ReloadResponse } from '../../protocol/client.ts'

/** What a reload has changed, and what it could not, as text. */
export function reloadText({ applies, restart }: ReloadResponse): string {
  if (applies.length + restart.length === 0) return 'nothing has changed'
  return [...applies, ...restart.map((change) => `takes a restart: ${change}`)].join('\n')
}
