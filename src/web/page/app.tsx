import { useEffect, useState } from 'preact/hooks'
import type { DashboardRole } from '../../protocol/dashboard-login.ts'
import type { PastColumns } from '../policy/history-columns.ts'
import type { View } from '../view.ts'
import { Board } from './panels/board.tsx'
import { follow } from './feed.ts'
import { Past } from './chart-history.ts'
import { Refusal, ask, signIn, takeCode } from './session-client.ts'

/** Whether what is shown is of now, and if not, why. */
export type Link = { state: 'connecting' | 'live' } | { state: 'lost' | 'signed-out'; reason: string }

/** The whole page. */
export function App() {
  const [link, setLink] = useState<Link>({ state: 'connecting' })
  const [role, setRole] = useState<DashboardRole>('viewer')
  const [view, setView] = useState<View>()
  const [past] = useState(() => new Past())

  useEffect(() => {
    const state = { view: undefined as View | undefined, frame: 0 }
    // What comes while the page is not seen is drawn once, when it is.
    const show = (next: View) => {
      past.note(next)
      state.view = next
      state.frame ||= requestAnimationFrame(() => {
        state.frame = 0
        setView(state.view)
      })
    }
    void enter()
      .then(setRole)
      .then(async () => past.begin((await ask('past')) as PastColumns))
      .then(() =>
        follow({
          onView: show,
          onState: (now, reason = '') =>
            setLink((before) => (before.state === 'live' && now === 'live' ? before : toLink(now, reason))),
        }),
      )
      .catch((error: unknown) => setLink({ state: 'signed-out', reason: (error as Error).message }))
  }, [past])

  if (link.state === 'signed-out') return <SignedOut reason={link.reason} />
  if (!view) return <main class="alone">{link.state === 'lost' ? link.reason : 'Connecting …'}</main>
  return (
    <Board
      view={view}
      past={past}
      role={role}
      link={link}
      onLeave={(reason) => setLink({ state: 'signed-out', reason })}
    />
  )
}

const toLink = (state: 'live' | 'lost' | 'signed-out', reason: string): Link =>
  state === 'live' ? { state } : { state, reason }

/** Signs in with the code of the address, or goes on with the session that there is. */
async function enter(): Promise<DashboardRole> {
  const code = takeCode()
  if (code !== undefined) {
    try {
      return await signIn(code)
    } catch (error) {
      // An address that was opened again: the session it opened may still be good.
      if (!(error instanceof Refusal)) throw error
      return await currentRole().catch(() => {
        throw error
      })
    }
  }
  return await currentRole()
}

async function currentRole(): Promise<DashboardRole> {
  return ((await ask('session')) as { role: DashboardRole }).role
}

function SignedOut({ reason }: { reason: string }) {
  return (
    <main class="alone">
      <h1>Gleaner</h1>
      <p role="alert">{reason}</p>
      <p>
        On the machine of the factory, run <kbd>factory dashboard</kbd> and open the address that it prints.
      </p>
    </main>
  )
}
