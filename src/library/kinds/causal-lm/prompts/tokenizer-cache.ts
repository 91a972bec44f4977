import { createHash, randomUUID } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BpeTables } from './bpe-tables.ts'

/*
 * What the tokenizer of a model was parsed into lies beside the model on the node, so that the next library there need not do
 * it again. It goes with the model's files, and may be missing at any time.
 */

/** A tokenizer's definition without its vocabulary and merges, and these. */
export interface ParsedTokenizer {
  readonly definition: unknown
  readonly tables: BpeTables
}

/** Smallest tokenizer.json that takes long enough to parse, characters. */
const LARGE = 2 << 20
/** Of the form of these files: another form has another name. */
const FORM = 1
/** The SHA-256 of all that follows, and how many numbers of four bytes are merges; JSON is behind these. */
const HASH = 32
const HEADER = HASH + 4

/** What a tokenizer.json was parsed into on this node; undefined if it was not, or is small. */
export async function recallTokenizer(folder: string, text: string): Promise<ParsedTokenizer | undefined> {
  if (text.length < LARGE) return undefined
  try {
    return decode(await readFile(pathFor(folder, text)))
  } catch {
    return undefined
  }
}

/** Keeps what a tokenizer.json was parsed into, if it is large; where that is not possible, it is parsed each time. */
export async function keepTokenizer(folder: string, text: string, parsed: ParsedTokenizer): Promise<void> {
  if (text.length < LARGE) return
  const path = pathFor(folder, text)
  const unfinished = `${path}.${randomUUID()}`
  try {
    await writeFile(unfinished, encode(parsed), { flag: 'wx', mode: 0o600 })
    await rename(unfinished, path)
  } catch {
    await rm(unfinished, { force: true }).catch(() => undefined)
  }
}

function pathFor(folder: string, text: string): string {
  const digest = createHash('sha256').update(text).digest('hex')
  return join(folder, `.tokenizer-parsed-${FORM}-${digest}`)
}

function encode({ definition, tables: { tokens, merges } }: ParsedTokenizer): Buffer[] {
  const json = Buffer.from(JSON.stringify({ definition, tokens }))
  const count = Buffer.alloc(HEADER - HASH)
  count.writeUInt32LE(merges.length)
  const content = [count, Buffer.from(merges.buffer), json]
  return [hashOf(...content), ...content]
}

/** @throws if the file is not one of these, or not whole */
function decode(file: Buffer): ParsedTokenizer | undefined {
  // What a node left when it lost its power may have the right length.
  if (!hashOf(file.subarray(HASH)).equals(file.subarray(0, HASH))) return undefined
  const jsonAt = HEADER + 4 * file.readUInt32LE(HASH)
  const merges = new Uint32Array(new Uint8Array(file.subarray(HEADER, jsonAt)).buffer)
  const { definition, tokens } = JSON.parse(file.toString('utf8', jsonAt)) as Record<string, unknown>
  return { definition, tables: { tokens: tokens as (string | null)[], merges } }
}

function hashOf(...parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}
