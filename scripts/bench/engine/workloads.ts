import { fileURLToPath } from 'node:url'
import { readTokenizer } from '../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'
import { generateClaims } from '../../generate-claims.ts'

const EXAMPLE = fileURLToPath(new URL('../../../templates/fact-verification/model', import.meta.url))
/** Tokens of the prompt that all claims share in the second workload, about. */
const SHARED_TOKENS = 300

/** Claims as the example model is asked them; behind a long shared prompt if so wanted. */
export async function claimPrompts(count: number, shared: boolean) {
  const { chat, encode } = await readTokenizer(EXAMPLE)
  const claims = [...generateClaims({ split: 'held-out', count })]
  const sentence = claims[0]!.evidence
  const repeats = Math.ceil(SHARED_TOKENS / encode(sentence, false).length)
  const start = shared ? `${Array<string>(repeats).fill(sentence).join(' ')}\n` : ''
  const texts = claims.map(({ evidence, claim }) => `${start}Evidence: ${evidence}\nClaim: ${claim}`)
  const prompts = texts.map((content) => encode(chat!([{ role: 'user', content }]), false))
  return { model: EXAMPLE, texts, prompts, limits: prompts.map(() => 6), endTokens: [2] }
}

/** Prompts of 60 random tokens, the same each time. */
export function tokenPrompts(count: number): number[][] {
  const draw = createRandom(1)
  return Array.from({ length: count }, () =>
    Array.from({ length: 60 }, () => 3 + Math.floor(draw() * 49_000)),
  )
}

/** New tokens of each answer: 8 to 256, geometric, 48 on average but for those bounds. */
export function lengthsOf(count: number): number[] {
  const draw = createRandom(2)
  return Array.from({ length: count }, () =>
    Math.min(256, 8 + Math.floor(Math.log(1 - draw()) / Math.log(1 - 1 / 40))),
  )
}

/** Numbers in [0, 1), the same for the same seed: mulberry32 by Tommy Ettinger. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
