import { useState } from 'preact/hooks'
import { count, duration, plural, rate } from '../../../common/plain/quantity-text.ts'
import type { View, WorkerView } from '../../view.ts'
import type { Propose } from './actions.tsx'
import { SlotMap } from './slot-map.tsx'

/** Rows at a time. */
const PAGE = 15

/** The slots of all workers as a map, and the workers as a table. */
export function Workers({ view, propose }: { view: View; propose: Propose }) {
  const [filter, setFilter] = useState('')
  const [page, setPage] = useState(0)
  const all = Object.values(view.workers)
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  const found = all
    .filter((worker) => words.length === 0 || matches(textOf(worker), words))
    .toSorted(worstFirst)
  const pages = Math.max(1, Math.ceil(found.length / PAGE))
  const at = Math.min(page, pages - 1)
  const narrow = (text: string) => {
    setFilter(text)
    setPage(0)
  }
  return (
    <section aria-labelledby="workers">
      <h2 id="workers">Workers</h2>
      {all.length === 0 && <p class="dim">There is none.</p>}
      {all.length > 0 && (
        <>
          <SlotMap workers={all} onPick={narrow} />
          <p class="tools">
            <input
              type="search"
              aria-label="Filter workers"
              placeholder="worker, site, node, state, context …"
              value={filter}
              onInput={({ currentTarget }) => narrow(currentTarget.value)}
            />
            <span class="dim">{plural(found.length, 'worker')}</span>
            {pages > 1 && <Pager at={at} pages={pages} onTurn={setPage} />}
          </p>
          <div class="scroll">
            <table>
              <thead>
                <tr>
                  <th scope="col">Worker</th>
                  <th scope="col" class="wide">
                    Site
                  </th>
                  <th scope="col" class="wide">
                    Node
                  </th>
                  <th scope="col">State</th>
                  <th scope="col" class="number wide">
                    Per second
                  </th>
                  <th scope="col" class="number wide">
                    Tasks
                  </th>
                  <th scope="col" class="number wide" title="for how long it has had the oldest of its tasks">
                    Oldest
                  </th>
                  <th scope="col">Contexts</th>
                  <th scope="col" class="number wide">
                    Time left
                  </th>
                  <td />
                </tr>
              </thead>
              <tbody>
                {found.slice(at * PAGE, (at + 1) * PAGE).map((worker) => (
                  <WorkerRow key={worker.id} worker={worker} now={view.now} propose={propose} />
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </section>
  )
}

function Pager({ at, pages, onTurn }: { at: number; pages: number; onTurn: (page: number) => void }) {
  return (
    <span class="pager">
      <button type="button" disabled={at === 0} onClick={() => onTurn(at - 1)} aria-label="Previous workers">
        ‹
      </button>
      <span class="dim">
        {at + 1} of {pages}
      </span>
      <button
        type="button"
        disabled={at === pages - 1}
        onClick={() => onTurn(at + 1)}
        aria-label="Next workers"
      >
        ›
      </button>
    </span>
  )
}

interface RowProps {
  worker: WorkerView
  now: number
  propose: Propose
}

function WorkerRow({ worker, now, propose }: RowProps) {
  const { id, pilot, site, node, state, leased, oldestMs, contexts, deadline } = worker
  const drain = () =>
    propose?.({
      title: `Drain worker ${id}?`,
      text: `It takes no more work, finishes what it has (${plural(leased, 'task')}), and its pilot ${pilot} on ${node} leaves.`,
      label: 'Drain the worker',
      path: `pilots/${pilot}/drain`,
      done: `Worker ${id} leaves when it has finished what it has.`,
    })
  return (
    <tr data-worker={id}>
      <th scope="row">{id}</th>
      <td class="wide">{site}</td>
      <td class="wide" title={node}>
        {node}
      </td>
      <td>
        <span class="state" data-state={state}>
          {state}
        </span>
      </td>
      <td class="number wide">{rate(worker.rate)}</td>
      <td class="number wide">{count(leased)}</td>
      <td class="number wide">{oldestMs === undefined ? '' : duration(oldestMs)}</td>
      <td>
        {contexts.map((context) => (
          <span key={context.context} class="held" title={context.error?.message}>
            <span
              class="cell"
              data-level={context.error ? 'failed' : context.doing ? 'warming' : context.level}
            />
            {context.context}{' '}
            <span class="dim">
              {context.error ? `failed: ${context.error.message}` : (context.doing ?? context.level)}
            </span>
          </span>
        ))}
      </td>
      <td class="number wide">{deadline === undefined ? '' : duration(Math.max(0, deadline - now))}</td>
      <td class="buttons">
        {propose && state !== 'draining' && (
          <button type="button" onClick={drain} aria-label={`Drain worker ${id}`}>
            Drain
          </button>
        )}
      </td>
    </tr>
  )
}

const matches = (text: string, words: string[]) => words.every((word) => text.includes(word))

const textOf = ({ id, pilot, site, node, state, contexts }: WorkerView) =>
  `${id} ${pilot} ${site} ${node} ${state} ${contexts.map(({ context, error }) => `${context} ${error ? 'failed' : ''}`).join(' ')}`.toLowerCase()

/** Those that want attention come first: silent ones, then those with a failed context, then the longest busy. */
function worstFirst(a: WorkerView, b: WorkerView): number {
  const rank = ({ state, contexts }: WorkerView) =>
    state === 'suspect' ? 0 : contexts.some(({ error }) => error) ? 1 : 2
  return rank(a) - rank(b) || Number(a.id.slice(1)) - Number(b.id.slice(1))
}
