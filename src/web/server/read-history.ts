import { type EventOf, type EventType, FactoryEvent } from '../../protocol/events.ts'
import { parseJson } from '../../protocol/primitives.ts'
import { type PastColumns, pastOf } from '../policy/history-columns.ts'
import type { DashboardServices } from './dashboard-services.ts'

/** Most events of a type that are looked at. Reading them keeps the manager from other work, for some ten milliseconds. */
const MOST = 1_500

/** What the charts begin with, when a page is opened. */
export function readPast({ events }: Pick<DashboardServices, 'events'>): PastColumns {
  function last<Type extends EventType>(type: Type): EventOf<Type>[] {
    const filter = { types: [type] }
    const page = events.read({ ...filter, after: events.before(MOST, filter), limit: MOST })
    return page.events.flatMap(({ text }) => {
      // Those of other versions of the manager may not be what they are now.
      const event = FactoryEvent.safeParse(parseJson(text))
      return event.success && event.data.type === type ? [event.data as EventOf<Type>] : []
    })
  }
  // Progress is told now and then, of jobs that go on: one may begin and end between two times.
  const begun = last('job-submitted').map(({ at, job }) => ({ at, job, done: 0, failed: 0 }))
  return pastOf(last('sample'), [...begun, ...last('job-progress'), ...last('job-ended')])
}
