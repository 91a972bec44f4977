import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers'

/*
 * The vocabulary and merges of a BPE tokenizer in the form in which words are merged. The library's own form, texts of pairs,
 * takes seconds to build for a quarter of a million tokens, and a text more for each pair that is looked up.
 */

export interface BpeTables {
  /** How tokens are spelled, by id; null where there is none. */
  readonly tokens: readonly (string | null)[]
  /** Pairs of tokens that become one, the ones that are merged first in front: `[left, right, left, right, …]`. */
  readonly merges: Uint32Array<ArrayBuffer>
}

/** A tokenizer's definition, as tokenizer.json has it. */
export interface BpeDefinition {
  readonly model: { readonly vocab?: unknown; readonly merges?: unknown }
  readonly added_tokens?: unknown
}

/** Greatest id of a token: two of them fit one whole number. */
const ID_MAX = 2 ** 26 - 1
/** Ids that no token has are few. */
const HOLES_MAX = 100_000

/** The tables of a definition; undefined if it is not as BPE is meant to be, which the library may still make sense of. */
export function toBpeTables({ model, added_tokens }: BpeDefinition): BpeTables | undefined {
  const { vocab, merges } = model
  if (vocab === null || typeof vocab !== 'object' || Array.isArray(vocab) || !Array.isArray(merges))
    return undefined
  const ids = new Map<string, number>()
  let greatest = -1
  for (const token in vocab) {
    const id = (vocab as Record<string, unknown>)[token]
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > ID_MAX) return undefined
    ids.set(token, id)
    greatest = Math.max(greatest, id)
  }
  if (greatest + 1 > ids.size + HOLES_MAX || !agrees(added_tokens, ids)) return undefined
  const tokens = new Array<string | null>(greatest + 1).fill(null)
  for (const [token, id] of ids) {
    if (tokens[id] !== null) return undefined
    tokens[id] = token
  }
  const pairs = new Uint32Array(2 * merges.length)
  for (let i = 0; i < merges.length; i++) {
    const [left, right] = halvesOf(merges[i])
    const before = ids.get(left as string)
    const after = ids.get(right as string)
    if (before === undefined || after === undefined) return undefined
    pairs[2 * i] = before
    pairs[2 * i + 1] = after
  }
  return { tokens, merges: pairs }
}

/** A merge is a pair of texts, or both in one with a space between. */
function halvesOf(merge: unknown): readonly unknown[] {
  if (typeof merge === 'string') return merge.split(' ', 2)
  return Array.isArray(merge) ? merge : []
}

/** Whether tokens that are added to the vocabulary have the ids that they have in there, if they are. */
function agrees(added: unknown, ids: ReadonlyMap<string, number>): boolean {
  if (!Array.isArray(added)) return false
  return added.every((token: { content?: string; id?: number } | null) => {
    const id = ids.get(token?.content as string)
    return id === undefined || id === token?.id
  })
}

/** Gives tables to a tokenizer that was made without vocabulary and merges; its added tokens stay. */
export function useBpeTables({ model }: HfTokenizer, { tokens, merges }: BpeTables): void {
  const { tokens_to_ids: ids, vocab } = model
  const added = [...ids]
  // One that is only added later is not what the model itself knows as unknown, and so not one to be fused.
  model.unk_token_id = undefined
  for (let id = 0; id < tokens.length; id++) {
    const token = tokens[id]
    if (token === null || token === undefined) continue
    ids.set(token, id)
    vocab[id] = token
    if (token === model.unk_token) model.unk_token_id = id
  }
  for (const [token, id] of added) {
    ids.set(token, id)
    vocab[id] = token
  }
  const ranks = new Map<number, number>()
  for (let i = 0; i < merges.length; i += 2)
    ranks.set(pairOf(merges[i] as number, merges[i + 1] as number), i / 2)
  model.add_node = (queue, node) => {
    const left = ids.get(node.token)
    const right = ids.get(node.next.token)
    if (left === undefined || right === undefined) return
    const rank = ranks.get(pairOf(left, right))
    if (rank === undefined) return
    node.score = rank + node.bias
    queue.push(node)
  }
}

function pairOf(left: number, right: number): number {
  return left * (ID_MAX + 1) + right
}
