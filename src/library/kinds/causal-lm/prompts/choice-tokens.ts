/*
 * Tokens as tokenizers spell them: bytes as letters of their own (GPT-2), a bar for a space (SentencePiece), `##` for the
 * inside of a word (WordPiece), `<0xE2>` for a byte.
 */

/** The letter that byte-level tokenizers write for each byte: printable ones stand for themselves. */
const BYTE_LETTERS = makeByteLetters()

function makeByteLetters(): string[] {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  let others = 0
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : 256 + others++),
  )
}

/** White space in any spelling, around the rest of a token. */
const AROUND = /^(?:[\s\u2581\u0120\u0109-\u010d]|##)+|(?:[\s\u2581\u0120\u0109-\u010d]|<\/w>)+$/g
const BYTE = /^<0x[0-9A-F]{2}>$/

/**
 * Ids of all tokens that may be part of one of the texts, or white space around it. It compares spellings, without
 * decoding anything, and may name tokens that turn out not to be.
 */
export function findChoiceTokens(
  vocabulary: readonly (string | undefined)[],
  texts: readonly string[],
): number[] {
  const spellings = texts.flatMap((text) => [
    text,
    text.replaceAll(' ', '\u2581'),
    [...Buffer.from(text)].map((byte) => BYTE_LETTERS[byte]).join(''),
  ])
  const all = spellings.join('\n')
  const found: number[] = []
  for (let id = 0; id < vocabulary.length; id++) {
    const piece = vocabulary[id]
    if (piece === undefined) continue
    const core = piece.replace(AROUND, '')
    if (core === '' || all.includes(core) || BYTE.test(piece)) found.push(id)
  }
  return found
}
