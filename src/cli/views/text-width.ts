/*
 * Text in columns of a terminal, where some characters take two and some none. The one place that measures, cuts and pads it.
 */

const PLAIN = /^[\x20-\x7e]*$/
/** Ideographs, syllables and their punctuation, full-width forms, and pictures. */
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Bopomofo}\p{Script=Yi}\p{Emoji_Presentation}\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]/u
/** Asks for the picture of a character that can also be text. */
const AS_PICTURE = '\ufe0f'
/** Of those scripts, but as wide as Latin letters. */
const HALF_WIDTH = /[\uff61-\uffdc]/
/** Marks without a letter, joiners and the like. */
const NO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]+$/u

const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** What a reader takes for one character each, such as a letter with its accents. */
export const characters = (text: string): string[] =>
  PLAIN.test(text) ? text.split('') : Array.from(segmenter.segment(text), ({ segment }) => segment)

function characterWidth(character: string): number {
  if (NO_WIDTH.test(character)) return 0
  if (character.includes(AS_PICTURE)) return 2
  return WIDE.test(character) && !HALF_WIDTH.test(character) ? 2 : 1
}

/** How many columns a line of text takes. */
export function textWidth(text: string): number {
  if (PLAIN.test(text)) return text.length
  return characters(text).reduce((sum, character) => sum + characterWidth(character), 0)
}

/** A line of text in at most so many columns: whole, or as much of it as fits before an ellipsis. */
export function cut(text: string, width: number): string {
  if (textWidth(text) <= width) return text
  if (width < 1) return ''
  let [kept, room] = ['', width - 1]
  for (const character of characters(text)) {
    room -= characterWidth(character)
    if (room < 0) break
    kept += character
  }
  return `${kept.trimEnd()}…`
}

/** A line of text with blanks behind it, so that it takes so many columns at least. */
export const pad = (text: string, width: number): string =>
  text + ' '.repeat(Math.max(0, width - textWidth(text)))

/** Below so many columns, a cell says nothing any more. */
const LEAST = 8

/**
 * How wide the columns of a table may be, so that it fits: the widest ones give way first, none below what can be read.
 * @param natural how wide each would like to be
 * @param room columns of the terminal that there are for all of them, without what is between
 */
export function columnWidths(natural: readonly number[], room: number): number[] {
  const widths = [...natural]
  let over = widths.reduce((sum, width) => sum + width, 0) - room
  while (over > 0) {
    const widest = Math.max(...widths)
    if (widest <= LEAST) break
    const next = Math.max(LEAST, ...widths.filter((width) => width < widest))
    const alike = widths.flatMap((width, i) => (width === widest ? i : []))
    const each = Math.min(widest - next, Math.ceil(over / alike.length))
    for (const i of alike.toReversed()) {
      const less = Math.min(each, over)
      widths[i]! -= less
      over -= less
    }
  }
  return widths
}
