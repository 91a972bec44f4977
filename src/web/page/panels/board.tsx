import { useMemo } from 'preact/hooks'
import { count, duration, rate } from '../../../common/plain/quantity-text.ts'
import type { DashboardRole } from '../../../protocol/dashboard-login.ts'
import { judge } from '../../policy/health-summary.ts'
import type { View } from '../../view.ts'
import { useActions } from './actions.tsx'
import type { Link } from '../app.tsx'
import { StackedChart } from './chart.tsx'
import { colours } from '../colours.ts'
import { Contexts } from './contexts.tsx'
import { Jobs } from './jobs.tsx'
import type { Past } from '../chart-history.ts'
import { signOut } from '../session-client.ts'
import { Sites } from './sites.tsx'
import { Spent, spentFigures } from './slot-time.tsx'
import { Transfers } from './transfers.tsx'
import { Verdict } from './health-summary.tsx'
import { Workers } from './workers.tsx'

interface Props {
  view: View
  past: Past
  role: DashboardRole
  link: Link
  onLeave: (reason: string) => void
}

/** All that is shown to those who are signed in. */
export function Board({ view, past, role, link, onLeave }: Props) {
  const { propose, dialogs } = useActions(role === 'operator', onLeave)
  const siteColours = useMemo(colours, [])
  const jobColours = useMemo(colours, [])
  return (
    <>
      <Header view={view} role={role} link={link} onLeave={onLeave} />
      <main>
        <Verdict view={view} verdict={judge(view)} />
        <Figures view={view} />
        <div class="pair">
          <StackedChart
            title="Pilots running, by site"
            columns={past.pilots}
            revision={view.now}
            unit="pilots"
            colourOf={siteColours}
          />
          <StackedChart
            title="Inferences, by job"
            columns={past.rates}
            revision={view.now}
            unit="per second"
            colourOf={jobColours}
            nameOf={(id) => `${id} ${view.jobs[id]?.name ?? ''}`}
          />
        </div>
        <Jobs view={view} propose={propose} />
        <Sites view={view} propose={propose} />
        <Contexts view={view} propose={propose} />
        <Spent view={view} />
        <Workers view={view} propose={propose} />
        <Transfers view={view} />
      </main>
      {dialogs}
    </>
  )
}

function Header({ view, role, link, onLeave }: Omit<Props, 'past'>) {
  const leave = () => void signOut().then(() => onLeave('You have signed out.'))
  return (
    <header>
      <strong>Gleaner</strong>
      <span class="dim wide">
        {view.version}, up {duration(view.now - view.startedAt)}
      </span>
      <span class="link" data-state={link.state} role="status">
        {link.state === 'live'
          ? 'live'
          : link.state === 'lost'
            ? `${link.reason}: trying again`
            : 'connecting'}
      </span>
      <span class="dim">{role === 'viewer' ? 'view only' : 'operator'}</span>
      <button type="button" onClick={leave}>
        Sign out
      </button>
    </header>
  )
}

/** The numbers, as the API gives them. */
function Figures({ view }: { view: View }) {
  const { tasks, duplicates, evictions, lost, requeued, workers } = view
  const figures: [string, string, (string | undefined)?][] = [
    ['queued', count(tasks.queued)],
    ['running', count(tasks.leased)],
    ['done', count(tasks.done)],
    ['failed', count(tasks.failed), tasks.failed > 0 ? 'bad' : undefined],
    ['per second', rate(view.rate)],
    ['workers', count(Object.keys(workers).length)],
    ['evictions', count(evictions)],
    ['lost workers', count(lost)],
    ['given back', count(requeued)],
    ['done twice', count(duplicates)],
    ...spentFigures(view),
  ]
  return (
    <dl class="figures" aria-label="Figures">
      {figures.map(([name, value, kind]) => (
        <div key={name} class={kind}>
          <dt>{name}</dt>
          <dd data-figure={name}>{value}</dd>
        </div>
      ))}
    </dl>
  )
}
