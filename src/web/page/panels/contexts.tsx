import { count, duration } from '../../../common/plain/quantity-text.ts'
import type { ContextView, View } from '../../view.ts'
import type { Propose } from './actions.tsx'
import { LEVELS } from '../slot-appearance.ts'

export function Contexts({ view, propose }: { view: View; propose: Propose }) {
  const contexts = Object.values(view.contexts)
  if (contexts.length === 0) return null
  const holders = holdersOf(view)
  return (
    <section aria-labelledby="contexts">
      <h2 id="contexts">Contexts</h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Context</th>
              {LEVELS.map((level) => (
                <th key={level} scope="col" class={classOf(level)} title={`workers that hold it on ${level}`}>
                  <span class="cell" data-level={level} /> {level}
                </th>
              ))}
              <th scope="col" class="number wide">
                Loads
              </th>
              <th scope="col" class="number wide">
                Fetching
              </th>
              <th scope="col" class="number wide">
                Loading
              </th>
              <th scope="col" class="number wide">
                Inferring
              </th>
              <td />
            </tr>
          </thead>
          <tbody>
            {contexts.map((context) => (
              <ContextRow
                key={context.id}
                context={context}
                holders={holders.get(context.context) ?? new Map()}
                propose={propose}
              />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

/** On a phone, those that hold nothing are left out. */
const classOf = (level: string) => (level === 'absent' ? 'number wide' : 'number')

interface RowProps {
  context: ContextView
  holders: Map<string, number>
  propose: Propose
}

function ContextRow({
  context: { context, loads, fetchMs, loadMs, inferenceMs },
  holders,
  propose,
}: RowProps) {
  const warm = () =>
    propose?.({
      title: `Warm context ${context}?`,
      text: 'Its files are brought to all workers that have nothing else to fetch, before there is work for it.',
      label: 'Warm the context',
      path: `contexts/${encodeURIComponent(context)}/warm`,
      done: `Context ${context} is being brought to the workers.`,
    })
  return (
    <tr>
      <th scope="row">{context}</th>
      {LEVELS.map((level) => (
        <td key={level} class={classOf(level)}>
          {count(holders.get(level) ?? 0)}
        </td>
      ))}
      <td class="number wide">{count(loads)}</td>
      <td class="number wide">{duration(fetchMs)}</td>
      <td class="number wide">{duration(loadMs)}</td>
      <td class="number wide">{duration(inferenceMs)}</td>
      <td class="buttons">
        {propose && (
          <button type="button" onClick={warm} aria-label={`Warm context ${context}`}>
            Warm
          </button>
        )}
      </td>
    </tr>
  )
}

/** Workers by the level they hold each context at. */
function holdersOf({ workers }: View): Map<string, Map<string, number>> {
  const holders = new Map<string, Map<string, number>>()
  for (const { contexts } of Object.values(workers)) {
    for (const { context, level } of contexts) {
      const levels = holders.get(context) ?? new Map<string, number>()
      holders.set(context, levels.set(level, (levels.get(level) ?? 0) + 1))
    }
  }
  return holders
}
