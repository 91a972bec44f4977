/**
 * Claims with evidence, for the fact verification example.
 *
 *   node scripts/generate-claims.ts --split train|held-out --count N --seed S
 *
 * prints one JSON object a line: id, claim, evidence, label. The same arguments
 * always give the same lines, three claims to each piece of evidence. Every entity is named with a coined word, and a
 * coined word belongs to exactly one split (see `splitOf`), so a model cannot
 * answer a held-out claim by having met its people or places in training.
 *
 * What the labels mean here:
 *   - an attribute has one value, so stating another value for it is refuted;
 *   - a claim about a subject or an attribute the evidence does not mention has
 *     not enough information, even where its value appears in the evidence;
 *   - denying the stated value is refuted, denying another value is supported.
 */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { Author, type Example, type Label, labels } from './generate-claims/author.ts'
import { type Split, splits } from './generate-claims/names.ts'

export type { Label, Split }

export interface Claim extends Example {
  id: string
}

export interface ClaimOptions {
  split: Split
  count: number
  seed?: number
}

/** Exactly `count` claims; three in a row share their evidence and have the three labels. */
export function* generateClaims({ split, count, seed = 1 }: ClaimOptions): Generator<Claim, void, undefined> {
  const author = new Author(seed, split)
  for (let i = 0; i < count; i += labels.length) {
    for (const [offset, example] of author
      .write()
      .slice(0, count - i)
      .entries()) {
      yield { id: `${split}-${seed}-${i + offset}`, ...example }
    }
  }
}

function parseCommandLine(args: string[]): Required<ClaimOptions> {
  const { values } = parseArgs({
    args,
    options: { split: { type: 'string' }, count: { type: 'string' }, seed: { type: 'string', default: '1' } },
  })
  const split = splits.find((name) => name === values.split)
  if (split === undefined) throw new Error(`--split must be ${splits.join(' or ')}`)
  if (!/^\d{1,9}$/.test(values.count ?? '')) throw new Error('--count must be a whole number of claims')
  if (!/^\d{1,9}$/.test(values.seed)) throw new Error('--seed must be a whole number')
  return { split, count: Number(values.count), seed: Number(values.seed) }
}

function* toLines(claims: Iterable<Claim>): Generator<string> {
  for (const claim of claims) yield `${JSON.stringify(claim)}\n`
}

if (import.meta.main) {
  let options: Required<ClaimOptions>
  try {
    options = parseCommandLine(process.argv.slice(2))
  } catch (error) {
    const [reason] = (error as Error).message.split('\n')
    process.stderr.write(`claims: ${reason}\n`)
    process.exit(2)
  }
  try {
    await pipeline(Readable.from(toLines(generateClaims(options))), process.stdout)
  } catch (error) {
    // A reader such as `head` has seen enough.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
  }
}
