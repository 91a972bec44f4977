import type { TaskPart } from '../manager/services/jobs/task-parts.ts'
import { ApiFailure } from './error-bodies.ts'
import { AnswerPart, type Generated, type TokenLogprob } from './engine-translation.ts'

/*
 * What a client that reads an answer as it grows is given. A run of the task may be lost with its worker, and another one begins
 * from the start: what is given next must go on where what was given ended. Parts may be lost; the value has everything.
 */

/** What has come to one of the answers. */
export interface Growth {
  answer: number
  text: string
  logprobs?: readonly TokenLogprob[] | undefined
  /** Characters of the answer, and tokens whose probabilities were given, before it. */
  at: number
}

interface Said {
  text: string
  logprobs: number
}

/** Follows the texts of an engine's answers. */
export class AnswerGrowth {
  readonly #order = new PartOrder()
  /** What was given of each answer, and what the run that is heard has said. */
  readonly #given = new Map<number, Said>()
  #run = new Map<number, { text: string; logprobs: TokenLogprob[] }>()

  /** What a part adds to what was given, if it does. */
  take(part: TaskPart): Growth[] {
    const place = this.#order.place(part)
    if (place === 'lost') return []
    if (place === 'first') this.#run = new Map()
    const parsed = AnswerPart.safeParse(JSON.parse(part.part.text))
    if (!parsed.success) return []
    const { answer, text, logprobs = [] } = parsed.data
    const said = this.#run.get(answer) ?? { text: '', logprobs: [] }
    said.text += text
    said.logprobs.push(...logprobs)
    this.#run.set(answer, said)
    const given = this.#given.get(answer)?.text ?? ''
    if (said.text.length <= given.length || !said.text.startsWith(given)) return []
    return [this.#give(answer, { text: said.text, logprobs: said.logprobs })]
  }

  /** What is left of the finished answers. @throws {ApiFailure} 500 if they are not what was begun with */
  finish({ answers }: Generated): Growth[] {
    return answers.map((finished, answer) => {
      if (!finished.text.startsWith(this.#given.get(answer)?.text ?? '')) throw otherAnswer()
      return this.#give(answer, finished)
    })
  }

  #give(answer: number, { text, logprobs }: Generated['answers'][number] | AnswerText): Growth {
    const { text: before, logprobs: known } = this.#given.get(answer) ?? { text: '', logprobs: 0 }
    this.#given.set(answer, { text, logprobs: logprobs?.length ?? 0 })
    return {
      answer,
      text: text.slice(before.length),
      ...(logprobs && logprobs.length > known && { logprobs: logprobs.slice(known) }),
      at: before.length,
    }
  }
}

type AnswerText = { text: string; logprobs?: TokenLogprob[] | undefined }

/** Follows the events of a server that speaks the API itself. */
export class EventGrowth {
  readonly #order = new PartOrder()
  readonly #given: string[] = []
  #strays = false

  /** The event of a part, as JSON, if it is a new one. */
  take(part: TaskPart): string[] {
    const place = this.#order.place(part)
    if (place === 'first') this.#strays = false
    if (place === 'lost' || this.#strays) return []
    const { text } = part.part
    if (part.n >= this.#given.length) return [this.#give(text)]
    this.#strays = this.#given[part.n] !== text
    return []
  }

  /** The events that are left. @throws {ApiFailure} 500 if the others are not what was begun with */
  finish(events: readonly unknown[]): string[] {
    const texts = events.map((event) => JSON.stringify(event))
    const plain = (text: string) => JSON.stringify(JSON.parse(text))
    if (!this.#given.every((text, i) => text === texts[i] || plain(text) === texts[i])) throw otherAnswer()
    return texts.slice(this.#given.length)
  }

  #give(text: string): string {
    this.#given.push(text)
    return text
  }
}

/** Tells whether a part follows the one before it in its run. */
class PartOrder {
  #lease = -1
  #next = 0

  place({ lease, n }: TaskPart): 'first' | 'next' | 'lost' {
    if (lease !== this.#lease) {
      this.#lease = lease
      this.#next = 0
    }
    if (n !== this.#next) return 'lost'
    return this.#next++ === 0 ? 'first' : 'next'
  }
}

const otherAnswer = () =>
  new ApiFailure(500, 'the worker was lost, and another one came to another answer: ask again', {
    code: 'answer_lost',
  })
