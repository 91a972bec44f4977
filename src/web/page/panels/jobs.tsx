import { useEffect, useState } from 'preact/hooks'
import { count, duration, plural, rate } from '../../../common/plain/quantity-text.ts'
import { timeOfDay } from '../../../common/time-text.ts'
import type { JobErrors, TaskLog } from '../../../protocol/client.ts'
import { endOf } from '../../policy/health-summary.ts'
import type { JobView, View } from '../../view.ts'
import type { Propose } from './actions.tsx'
import { ask } from '../session-client.ts'

export function Jobs({ view, propose }: { view: View; propose: Propose }) {
  const [opened, setOpened] = useState<number>()
  const jobs = Object.values(view.jobs).toSorted(byOpenThenNewest)
  return (
    <section aria-labelledby="jobs">
      <h2 id="jobs">Jobs</h2>
      {jobs.length === 0 && <p class="dim">There is none: "factory run FILE --context NAME" makes one.</p>}
      {jobs.length > 0 && (
        <div class="scroll">
          <table class="jobs">
            <thead>
              <tr>
                <th scope="col">Job</th>
                <th scope="col" class="wide">
                  Context
                </th>
                <th scope="col">State</th>
                <th scope="col" class="wide">
                  Progress
                </th>
                <th scope="col" class="number wide">
                  Done
                </th>
                <th scope="col" class="number">
                  Failed
                </th>
                <th scope="col" class="number wide">
                  Tasks
                </th>
                <th scope="col" class="number wide">
                  Per second
                </th>
                <th scope="col" class="number">
                  Ends in
                </th>
                <td />
              </tr>
            </thead>
            <tbody>
              {jobs.map((job) => (
                <JobRows
                  key={job.id}
                  job={job}
                  now={view.now}
                  isOpened={opened === job.id}
                  onToggle={() => setOpened(opened === job.id ? undefined : job.id)}
                  propose={propose}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {view.earlierJobs > 0 && (
        <p class="dim">{plural(view.earlierJobs, 'earlier one')}: see "factory jobs".</p>
      )}
    </section>
  )
}

const byOpenThenNewest = (a: JobView, b: JobView) =>
  Number(b.state === 'open') - Number(a.state === 'open') || b.id - a.id

interface RowProps {
  job: JobView
  now: number
  isOpened: boolean
  onToggle: () => void
  propose: Propose
}

function JobRows({ job, now, isOpened, onToggle, propose }: RowProps) {
  const { id, name, context, state, tasks, done, failed, problem, createdAt } = job
  const end = endOf(job)
  const shown = problem === undefined ? state : 'stuck'
  return (
    <>
      <tr data-job={id}>
        <th scope="row">
          <span class="dim">{id}</span>{' '}
          <span class="name" title={name}>
            {name}
          </span>
        </th>
        <td class="wide">{context}</td>
        <td>
          <span class="state" data-state={shown}>
            {shown}
          </span>
        </td>
        <td class="wide">
          <Progress done={done} failed={failed} tasks={tasks} />
        </td>
        <td class="number wide">{count(done)}</td>
        <td class="number">
          {failed > 0 ? (
            <button type="button" class="plain bad" aria-expanded={isOpened} onClick={onToggle}>
              {count(failed)}
            </button>
          ) : (
            '0'
          )}
        </td>
        <td class="number wide">{count(tasks)}</td>
        <td class="number wide">{state === 'open' ? rate(job.rate) : ''}</td>
        <td class="number">
          {end === undefined ? (
            state === 'open' ? (
              '–'
            ) : (
              <span class="dim">made {timeOfDay(createdAt, now)}</span>
            )
          ) : (
            duration(end)
          )}
        </td>
        <td class="buttons">{propose && <JobButtons job={job} propose={propose} />}</td>
      </tr>
      {isOpened && (
        <tr>
          <td colSpan={10}>
            <Failures job={id} failed={failed} />
          </td>
        </tr>
      )}
    </>
  )
}

function JobButtons({ job, propose }: { job: JobView; propose: NonNullable<Propose> }) {
  const { id, name, state, failed, tasks, done } = job
  const cancel = () =>
    propose({
      title: `Cancel job ${id}?`,
      text: `"${name}": ${plural(tasks - done - failed, 'task')} without a result will be given up. What is done stays.`,
      label: 'Cancel the job',
      path: `jobs/${id}/cancel`,
      done: `Job ${id} was cancelled.`,
    })
  const retry = () =>
    propose({
      title: `Retry job ${id}?`,
      text:
        `"${name}": ${plural(failed, 'task')} that failed will run again` +
        (state === 'cancelled' ? ', and those that had not run when it was cancelled.' : '.'),
      label: 'Retry the job',
      path: `jobs/${id}/retry`,
      done: `What failed of job ${id} runs again.`,
    })
  return (
    <>
      {(failed > 0 || state === 'cancelled') && (
        <button type="button" onClick={retry} aria-label={`Retry job ${id}`}>
          Retry
        </button>
      )}
      {state === 'open' && (
        <button type="button" onClick={cancel} aria-label={`Cancel job ${id}`}>
          Cancel
        </button>
      )}
    </>
  )
}

function Progress({ done, failed, tasks }: { done: number; failed: number; tasks: number }) {
  const part = (some: number) => `${tasks === 0 ? 0 : (some / tasks) * 100}%`
  const percent = tasks === 0 ? 0 : Math.floor(((done + failed) / tasks) * 100)
  return (
    <span
      class="bar"
      role="progressbar"
      aria-label="ended"
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span class="done" style={{ width: part(done) }} />
      <span class="failed" style={{ width: part(failed) }} />
    </span>
  )
}

/** In what ways the tasks of a job failed; with the log of one task of each. */
function Failures({ job, failed }: { job: number; failed: number }) {
  const [found, setFound] = useState<JobErrors | string>()
  useEffect(() => {
    ask(`jobs/${job}/errors`)
      .then((errors) => setFound(errors as JobErrors))
      .catch((error: unknown) => setFound((error as Error).message))
  }, [job, failed])
  if (found === undefined) return <p class="dim">Reading …</p>
  if (typeof found === 'string') return <p role="alert">{found}</p>
  return (
    <div class="failures">
      {found.errors.map(({ tasks, error, example }, i) => (
        <article key={i}>
          <p>
            <b>{plural(tasks, 'task')}</b> <span class="bad">{error.name}</span>:{' '}
            <span class="text">{error.message}</span>
          </p>
          <Log job={job} taskKey={example.key} node={example.node} worker={example.worker} />
        </article>
      ))}
      {found.kinds > found.errors.length && (
        <p class="dim">and {plural(found.kinds - found.errors.length, 'rarer kind')}</p>
      )}
    </div>
  )
}

interface LogProps {
  job: number
  taskKey: string
  node: string | undefined
  worker: string
}

function Log({ job, taskKey, node, worker }: LogProps) {
  const [log, setLog] = useState<string>()
  const read = async () => {
    const key = encodeURIComponent(taskKey)
    try {
      const { error, log } = (await ask(`jobs/${job}/log?key=${key}`)) as TaskLog
      setLog([error?.stack ?? error?.message, log ?? 'It printed nothing.'].filter(Boolean).join('\n\n'))
    } catch (error) {
      setLog((error as Error).message)
    }
  }
  return (
    <details onToggle={({ currentTarget }) => currentTarget.open && log === undefined && void read()}>
      <summary>
        for example <code>{taskKey}</code>, on {node ?? worker}
      </summary>
      <pre>{log ?? 'Reading …'}</pre>
    </details>
  )
}
