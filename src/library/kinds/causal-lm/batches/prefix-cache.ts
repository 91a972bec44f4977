import { type Batch, readPrompts } from './batch.ts'
import type { Model } from '../graph/model.ts'

/*
 * What a model made of starts that prompts share, kept as a tree: a start goes on from the longest one before it. It
 * compares tokens, not texts: the prompts given decide what they share.
 */

/** A start, from the root on, and what the model made of it: a batch of one row. */
interface Node {
  readonly parent: Node | undefined
  /** Tokens after those of the parent. */
  readonly tokens: readonly number[]
  readonly length: number
  readonly batch: Batch | undefined
  readonly children: Set<Node>
  /** When it was of use last. */
  used: number
}

export interface PrefixTree {
  /** Length of the longest start of a prompt that is known, and short of all of it. */
  known(prompt: readonly number[]): number
  /**
   * What the model makes of a start of a prompt.
   *
   * @param starts lengths of starts that are worth computing if they are not known, shortest first
   * @param most length of the longest start that is of use
   */
  find(prompt: readonly number[], starts: readonly number[], most: number): Promise<Batch | undefined>
  /** Forgets starts that were not used for longest until the rest are within the budget. */
  trim(): void
}

/** @param budget tokens that may be remembered of all starts together; those of a parent count for each child again */
export function createPrefixTree(model: Model, budget: number): PrefixTree {
  const root: Node = {
    parent: undefined,
    tokens: [],
    length: 0,
    batch: undefined,
    children: new Set(),
    used: 0,
  }
  const nodes = new Set<Node>()
  let clock = 0
  return {
    known: (prompt) => deepest(root, prompt, prompt.length - 1).length,
    async find(prompt, starts, most) {
      let node = deepest(root, prompt, most)
      for (const length of starts) {
        if (length <= node.length || length > budget) continue
        try {
          node = await grow(node, prompt.slice(0, length))
        } catch {
          // Whatever it is, the prompt itself will meet it, and can say whose fault it is.
          break
        }
      }
      clock += 1
      for (let at: Node | undefined = node; at; at = at.parent) at.used = clock
      return node.batch
    },
    trim() {
      let held = 0
      for (const { length } of nodes) held += length
      while (held > budget) {
        const leaves = [...nodes].filter(({ children }) => children.size === 0)
        const oldest = leaves.reduce((a, b) => (b.used < a.used ? b : a))
        nodes.delete(oldest)
        oldest.parent?.children.delete(oldest)
        if (oldest.batch) model.store.release(oldest.batch.state)
        held -= oldest.length
      }
    },
  }

  async function grow(parent: Node, tokens: readonly number[]): Promise<Node> {
    const { batch } = await readPrompts(model, 'end', [{ tokens, seen: parent.batch }])
    const added = tokens.slice(parent.length)
    const node = { parent, tokens: added, length: tokens.length, batch, children: new Set<Node>(), used: 0 }
    parent.children.add(node)
    nodes.add(node)
    return node
  }
}

/** The longest start that is known of a prompt, of at most so many tokens. */
function deepest(root: Node, prompt: readonly number[], most: number): Node {
  for (let node = root; ;) {
    const { length: from, children } = node
    const matches = [...children].filter(
      ({ length, tokens }) => length <= most && tokens.every((token, i) => token === prompt[from + i]),
    )
    if (matches.length === 0) return node
    node = matches.reduce((a, b) => (b.length > a.length ? b : a))
  }
}
