/** What of a factory is listed. */
export const TABS = ['jobs', 'sites', 'workers'] as const
export type Tab = (typeof TABS)[number]

/** What the user looks at. */
export interface TopState {
  tab: Tab
  /** Row that is chosen, from 0. */
  row: number
  /** Column that is sorted by, from 0, and whether the largest come first. */
  sort: number
  descending: boolean
  /** Rows that hold this are shown. */
  filter: string
  /** Keys go into the filter. */
  typing: boolean
  /** The job, site or worker that is shown by itself. */
  detail?: string
  quit: boolean
}

export const START: TopState = {
  tab: 'jobs',
  row: 0,
  sort: 0,
  descending: false,
  filter: '',
  typing: false,
  quit: false,
}

/** Columns of each list, by which it can be sorted. */
export const COLUMNS = {
  jobs: ['JOB', 'NAME', 'CONTEXT', 'STATE', 'DONE', 'FAILED', 'TASKS'],
  sites: ['SITE', 'KIND', 'POLICY', 'WANTED', 'PENDING', 'RUNNING', 'HELD', 'WHY'],
  workers: ['WORKER', 'SITE', 'NODE', 'STATE', 'RATE', 'TASKS', 'OLDEST', 'CONTEXTS'],
} as const satisfies Record<Tab, readonly string[]>

const FILTER_MAX = 100
const PAGE = 10

/**
 * What a key does.
 * @param key a character, or the sequence that a terminal sends for a key
 * @param ids what the rows that are shown stand for
 */
export function press(state: TopState, key: string, ids: readonly string[]): TopState {
  if (key === '\x03') return { ...state, quit: true }
  if (state.typing) return type(state, key)
  const row = Math.min(state.row, Math.max(0, ids.length - 1))
  const to = (wanted: number) => ({ ...state, row: Math.max(0, Math.min(ids.length - 1, wanted)) })
  const open = (tab: Tab) => ({ ...START, tab })
  switch (key) {
    case 'q':
      return { ...state, quit: true }
    case '\x1b':
    case '\x7f':
    case '\x1b[D':
    case 'h':
      return without(state, 'detail')
    case '1':
      return open('jobs')
    case '2':
      return open('sites')
    case '3':
      return open('workers')
    case '\t':
      return open(TABS[(TABS.indexOf(state.tab) + 1) % TABS.length]!)
    case 'k':
    case '\x1b[A':
      return to(row - 1)
    case 'j':
    case '\x1b[B':
      return to(row + 1)
    case '\x1b[5~':
      return to(row - PAGE)
    case '\x1b[6~':
      return to(row + PAGE)
    case 's':
      return { ...state, sort: (state.sort + 1) % COLUMNS[state.tab].length }
    case 'S':
      return { ...state, sort: (state.sort + COLUMNS[state.tab].length - 1) % COLUMNS[state.tab].length }
    case 'r':
      return { ...state, descending: !state.descending }
    case '/':
      return { ...state, typing: true }
    case '\r':
    case '\n':
    case '\x1b[C':
    case 'l':
      return ids[row] === undefined ? state : { ...state, detail: ids[row] }
    default:
      return state
  }
}

function without(state: TopState, what: 'detail'): TopState {
  const { [what]: detail, ...rest } = state
  return detail === undefined ? { ...state, filter: '' } : rest
}

function type(state: TopState, key: string): TopState {
  if (key === '\r' || key === '\n') return { ...state, typing: false }
  if (key === '\x1b') return { ...state, typing: false, filter: '' }
  if (key === '\x7f' || key === '\b') return { ...state, filter: [...state.filter].slice(0, -1).join('') }
  if (/^[^\p{Cc}]+$/u.test(key))
    return { ...state, row: 0, filter: (state.filter + key).slice(0, FILTER_MAX) }
  return state
}

/** The keys in what a terminal sent: one sequence or one character each. */
export function keysIn(text: string): string[] {
  // eslint-disable-next-line no-control-regex
  return text.match(/\x1b\[[\d;]*[A-Za-z~]|\x1bO[A-Z]|[^]/gu) ?? []
}
