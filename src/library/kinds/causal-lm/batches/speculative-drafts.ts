/*
 * Drafts of how answers go on, so that one pass can write several tokens of each: as earlier answers of the same function
 * went on, or as the same words did earlier in the prompt. A wrong draft costs time alone: what is written is what the
 * model says.
 */

/** Tokens that may come next, and how likely it is that all up to each are right. */
export interface Draft {
  readonly tokens: readonly number[]
  readonly chances: readonly number[]
  /** Whether they stand so earlier in prompt or answer. */
  readonly copied: boolean
}

export interface Drafter {
  /** @param most tokens that it may have */
  draft(prompt: readonly number[], answer: readonly number[], most: number): Draft
  /** Hears which token came where a draft was made. */
  note(draft: Draft, token: number | undefined): void
  /** Hears of a whole answer. */
  learn(answer: readonly number[]): void
}

/** That of a row that nothing is known of. */
export const NO_DRAFT: Draft = { tokens: [], chances: [], copied: false }
/** Most tokens of a draft. */
const MOST = 8
/** A draft goes on while it is right at least so often. */
const LIKELY = 0.4

export function createDrafter(): Drafter {
  const answers = createAnswerTree()
  const copies = { right: 1, all: 2 }
  return {
    draft(prompt, answer, most) {
      const limit = Math.min(most, MOST)
      if (limit <= 0) return NO_DRAFT
      const recalled = answers.recall(answer, limit)
      if (recalled.tokens.length > 0) return recalled
      const tokens = copyEarlier(prompt, answer, limit)
      const rate = copies.right / copies.all
      return { tokens, chances: tokens.map((_, i) => rate ** (i + 1)), copied: true }
    },
    note({ tokens, copied }, token) {
      if (!copied || tokens.length === 0) return
      copies.all = 1 + FADING * copies.all
      copies.right = (tokens[0] === token ? 1 : 0) + FADING * copies.right
    },
    learn: (answer) => answers.add(answer),
  }
}

/** What came of a copy counts less with each that follows. */
const FADING = 0.98

/** Tokens of an answer that are remembered, and of all answers. */
const DEPTH = 64
const REMEMBERED = 20_000

/** How often answers began in one way, and how they went on. */
interface Beginning {
  count: number
  readonly next: Map<number, Beginning>
  likeliest?: { readonly token: number; readonly beginning: Beginning }
}

function createAnswerTree() {
  let root: Beginning = { count: 0, next: new Map() }
  let remembered = 0
  const find = (answer: readonly number[]) => {
    if (answer.length > DEPTH) return undefined
    let beginning: Beginning | undefined = root
    for (const token of answer) beginning = beginning?.next.get(token)
    return beginning
  }
  return {
    recall(answer: readonly number[], limit: number): Draft {
      const tokens: number[] = []
      const chances: number[] = []
      const written = find(answer)
      let chance = 1
      const goOn = ({ count, likeliest }: Beginning): void => {
        chance *= (likeliest?.beginning.count ?? 0) / (count + 1)
        if (!likeliest || chance < LIKELY || tokens.length === limit) return
        tokens.push(likeliest.token)
        chances.push(chance)
        goOn(likeliest.beginning)
      }
      if (written) goOn(written)
      return { tokens, chances, copied: false }
    },
    add(answer: readonly number[]): void {
      if (remembered > REMEMBERED) {
        root = { count: 0, next: new Map() }
        remembered = 0
      }
      let beginning = root
      beginning.count += 1
      for (const token of answer.slice(0, DEPTH)) {
        const next = beginning.next.get(token) ?? { count: 0, next: new Map() }
        if (next.count === 0) remembered += 1
        beginning.next.set(token, next)
        next.count += 1
        if (next.count > (beginning.likeliest?.beginning.count ?? 0))
          beginning.likeliest = { token, beginning: next }
        beginning = next
      }
    },
  }
}

/** Tokens that must be the same before others are copied, and how far back they are looked for. */
const SAME = 3
const LOOKED_AT = 4096

/** What came after the last tokens when they stood there before. */
function copyEarlier(prompt: readonly number[], answer: readonly number[], limit: number): number[] {
  const length = prompt.length + answer.length
  const at = (i: number) => (i < prompt.length ? prompt[i] : answer[i - prompt.length]) as number
  const isSame = (from: number) => {
    for (let i = 0; i < SAME; i++) if (at(from + i) !== at(length - SAME + i)) return false
    return true
  }
  const first = Math.max(0, length - LOOKED_AT)
  for (let from = length - SAME - 1; from >= first; from--) {
    if (!isSame(from)) continue
    const start = from + SAME
    return Array.from({ length: Math.min(limit, length - start) }, (_, i) => at(start + i))
  }
  return []
}
