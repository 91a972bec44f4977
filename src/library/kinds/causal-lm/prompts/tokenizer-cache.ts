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
/** Two numbers of four bytes: the length of what is JSON, and how many numbers of merges follow it. */
const HEADER = 8

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
  const header = Buffer.alloc(HEADER)
  header.writeUInt32LE(json.length, 0)
  header.writeUInt32LE(merges.length, 4)
  return [header, Buffer.from(merges.buffer), json]
}

/** @throws if the file is not one of these, or not whole */
function decode(file: Buffer): ParsedTokenizer | undefined {
  const jsonAt = HEADER + 4 * file.readUInt32LE(4)
  if (file.length !== jsonAt + file.readUInt32LE(0)) return undefined
  const merges = new Uint32Array(new Uint8Array(file.subarray(HEADER, jsonAt)).buffer)
  const { definition, tokens } = JSON.parse(file.toString('utf8', jsonAt)) as Record<string, unknown>
  const isSpelled = (token: unknown) => token === null || typeof token === 'string'
  if (!Array.isArray(tokens) || !tokens.every(isSpelled)) return undefined
  if (!merges.every((token) => typeof tokens[token] === 'string')) return undefined
  return { definition, tables: { tokens, merges } }
}
