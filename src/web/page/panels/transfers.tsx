import { size } from '../../../common/plain/quantity-text.ts'
import type { View } from '../../view.ts'

/** Sources of one fetch that are named; the others are summed up. */
const SOURCES = 3
/** Fetches that are shown: a thousand at once would not be read. */
const SHOWN = 10

/** Who fetches what from whom, how fast. */
export function Transfers({ view }: { view: View }) {
  const transfers = Object.values(view.transfers)
  if (transfers.length === 0) return null
  return (
    <section aria-labelledby="transfers">
      <h2 id="transfers">Fetching</h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Worker</th>
              <th scope="col">What</th>
              <th scope="col" class="number">
                Here
              </th>
              <th scope="col">From</th>
            </tr>
          </thead>
          <tbody>
            {transfers.slice(0, SHOWN).map(({ worker, bundle, contexts, heldBytes, totalBytes, from }) => (
              <tr key={`${worker} ${bundle}`}>
                <th scope="row">{worker}</th>
                <td>
                  {contexts.join(', ') || 'a bundle'} <span class="dim wide">{bundle.slice(0, 8)}</span>
                </td>
                <td class="number">
                  {totalBytes > 0 ? `${size(heldBytes)} of ${size(totalBytes)}` : 'begins'}
                </td>
                <td class="sources">{sourcesText(from)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {transfers.length > SHOWN && <p class="dim">and {transfers.length - SHOWN} more</p>}
    </section>
  )
}

function sourcesText(from: Record<string, { bytes: number; rate: number }>): string {
  const most = Object.entries(from).toSorted(([, a], [, b]) => b.rate - a.rate || b.bytes - a.bytes)
  const named = most
    .slice(0, SOURCES)
    .map(([source, { rate, bytes }]) => `${source} ${rate > 0 ? `${size(rate)}/s` : size(bytes)}`)
  const rest = most.slice(SOURCES)
  if (rest.length > 0) {
    const rate = rest.reduce((sum, [, source]) => sum + source.rate, 0)
    named.push(`${rest.length} others ${size(rate)}/s`)
  }
  return named.join(', ')
}
