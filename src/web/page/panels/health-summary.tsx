import { count, duration, plural, rate } from '../../../common/plain/quantity-text.ts'
import type { Problem, Verdict as Judgement } from '../../policy/health-summary.ts'
import type { View } from '../../view.ts'

/** The answer in one line, and what is wrong below it. */
export function Verdict({ view, verdict }: { view: View; verdict: Judgement }) {
  const { problems, state } = verdict
  const worst = problems.some(({ severity }) => severity === 'error')
    ? 'error'
    : problems.length > 0
      ? 'warning'
      : 'ok'
  return (
    <section
      class="verdict"
      data-state={state}
      data-worst={state === 'stuck' ? 'error' : worst}
      aria-label="How it goes"
    >
      <h1>
        <span class="word">{WORDS[state]}</span> <span class="rest">{restOf(view, verdict)}</span>
      </h1>
      {problems.length > 0 && <Problems problems={problems} now={view.now} />}
    </section>
  )
}

const WORDS: Record<Judgement['state'], string> = {
  idle: 'Idle.',
  working: 'Working.',
  starting: 'Getting ready.',
  waiting: 'Waiting for nodes.',
  stuck: 'Stuck.',
}

function restOf(
  { tasks, rate: perSecond, workers, sites }: View,
  { state, left, endsInMs }: Judgement,
): string {
  const of = plural(left, 'task')
  switch (state) {
    case 'idle':
      return tasks.done + tasks.failed > 0
        ? `All ${plural(tasks.done + tasks.failed, 'task')} have ended.`
        : 'There is nothing to do yet.'
    case 'working':
      return `${rate(perSecond)} tasks a second; ${count(left)} left, done in about ${duration(endsInMs!)}.`
    case 'starting':
      return `${of} to do; ${plural(Object.keys(workers).length, 'worker')} fetch or load what they need.`
    case 'waiting': {
      const pending = Object.values(sites).reduce((sum, site) => sum + site.pending, 0)
      return `${of} to do; ${plural(pending, 'pilot')} in the queues.`
    }
    case 'stuck':
      return `${of} to do, no worker, and no pilot in any queue.`
  }
}

/** More than this are kept behind a click. */
const SHOWN = 4

function Problems({ problems, now }: { problems: Problem[]; now: number }) {
  const [first, rest] = [problems.slice(0, SHOWN), problems.slice(SHOWN)]
  const list = (some: Problem[]) => (
    <ul class="problems">
      {some.map((problem, i) => (
        <li key={`${i} ${problem.about}`} data-severity={problem.severity}>
          <span class="tag">{problem.severity}</span> <b>{problem.about}</b>{' '}
          <span class="text">{problem.text}</span>
          {problem.retryAt !== undefined && <span class="dim"> {nextTry(problem.retryAt - now)}</span>}
        </li>
      ))}
    </ul>
  )
  return (
    <>
      {list(first)}
      {rest.length > 0 && (
        <details>
          <summary>{rest.length} more</summary>
          {list(rest)}
        </details>
      )}
    </>
  )
}

const nextTry = (ms: number) => (ms > 0 ? `next try in ${duration(ms)}` : 'trying again')
