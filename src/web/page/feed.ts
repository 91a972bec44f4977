import { patched, type JsonObject } from '../policy/merge-patch.ts'
import type { View } from '../view.ts'
import { Refusal, open } from './session-client.ts'

/** The server says something every second: after so long without it, the connection is gone, milliseconds. */
const SILENCE_MS = 15_000
/** Longest pause between two tries to connect, milliseconds. */
const PAUSE_MS = 10_000

export interface FeedListener {
  onView: (view: View) => void
  /** `reason` says why it is not live. */
  onState: (state: 'live' | 'lost' | 'signed-out', reason?: string) => void
}

/** Follows what the factory does, until the page is signed out. */
export async function follow({ onView, onState }: FeedListener): Promise<void> {
  for (let failures = 0; ; failures++) {
    try {
      await listen((view) => {
        failures = 0
        onState('live')
        onView(view)
      })
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) return onState('signed-out', error.message)
      onState('lost', error instanceof Refusal ? error.message : 'the factory cannot be reached')
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(PAUSE_MS, 500 * 2 ** failures)))
  }
}

async function listen(onView: (view: View) => void): Promise<void> {
  const gone = new AbortController()
  let timer = setTimeout(() => gone.abort(), SILENCE_MS)
  let view: JsonObject = {}
  try {
    const response = await open('feed', gone.signal)
    for await (const { event, data } of eventsOf(response.body!)) {
      clearTimeout(timer)
      timer = setTimeout(() => gone.abort(), SILENCE_MS)
      const value = JSON.parse(data) as JsonObject
      view = event === 'view' ? value : patched(view, value)
      onView(view as unknown as View)
    }
  } finally {
    clearTimeout(timer)
  }
}

/** Server-sent events, as far as this server writes them: one line says which, one holds the data. */
async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<{ event: string; data: string }> {
  let text = ''
  const reader = body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += value
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [event, data] = text.slice(0, end).split('\n') as [string, string]
      text = text.slice(end + 2)
      yield { event: event.slice('event: '.length), data: data.slice('data: '.length) }
    }
  }
}
