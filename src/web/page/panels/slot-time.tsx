import { count, duration } from '../../../common/plain/quantity-text.ts'
import { KINDS, totalUse, useOf } from '../../policy/slot-time-shares.ts'
import type { SpentView, View } from '../../view.ts'

/** Where the time of slots went, by what they are. */
export function Spent({ view }: { view: View }) {
  const devices = Object.entries(view.spent)
  if (devices.length === 0) return null
  return (
    <section aria-labelledby="spent">
      <h2 id="spent">Slot time</h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Slots</th>
              <th scope="col" class="number">
                Now
              </th>
              <th scope="col" class="number">
                Used
              </th>
              <th scope="col" class="wide" />
              {KINDS.map((kind) => (
                <th key={kind} scope="col" class="number wide">
                  <span class="cell" data-spent={kind} /> {kind}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {devices.map(([device, spent]) => (
              <SpentRow key={device} device={device} spent={spent} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function SpentRow({ device, spent }: { device: string; spent: SpentView }) {
  const { used, wasted } = useOf(spent)
  const all = Math.max(1, used + wasted)
  return (
    <tr>
      <th scope="row">{device}</th>
      <td class="number">{count(spent.slots)}</td>
      <td class="number">{Math.round((used / all) * 100)} %</td>
      <td class="wide">
        <span class="bar" aria-hidden="true">
          {KINDS.map((kind) => (
            <span key={kind} data-spent={kind} style={{ width: `${(spent[kind] / all) * 100}%` }} />
          ))}
        </span>
      </td>
      {KINDS.map((kind) => (
        <td key={kind} class="number wide">
          {duration(spent[kind] * 1000)}
        </td>
      ))}
    </tr>
  )
}

/** The sum of it, for the figures. */
export function spentFigures({ spent }: View): [string, string][] {
  const { used, wasted, of } = totalUse(spent)
  return [
    [`${of} used`, hours(used)],
    [`${of} wasted`, hours(wasted)],
  ]
}

/** Seconds as `5 min`, `0.2 h`, `1,234 h`. */
const hours = (seconds: number) =>
  seconds < 360 ? duration(seconds * 1000) : `${count(Number((seconds / 3600).toPrecision(3)))} h`
