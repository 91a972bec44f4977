/**
 * Why pilots of a site are not at work, in a line that begins with how many they are.
 * @param why of those that run, the reason says itself what they do
 */
export function pilotsReason(why: {
  reason: string
  pilots: number
  state: 'pending' | 'held' | 'running'
}): string {
  const { reason, pilots, state } = why
  return state === 'running' ? `${pilots} ${reason}` : `${pilots} ${state}: ${reason}`
}
