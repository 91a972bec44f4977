/*
 * The one place where text leaves for a person. Names, errors and logs come from nodes, batch systems and tasks: what a terminal
 * would act on in them, such as escape sequences, is shown as it would be written in JSON.
 */

/** All controls but line breaks and tabs, and the characters that turn the direction of text or break lines. */
const ACTED_UPON = /[^\P{Cc}\n\t]|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/** Text without anything that a terminal acts on. JSON stays JSON, with the same values. */
export function toTerminal(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replace(ACTED_UPON, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** What this program itself has a terminal do, each written alone: go to the top, up some lines, and erase. */
const OWN_SEQUENCE = /^(\x1b\[H\x1b\[2J|\x1b\[\d+A|\x1b\[0J)$/ // eslint-disable-line no-control-regex

/** Has everything that is written to this stream from here on pass through {@link toTerminal}. */
export function cleanOutput(stream: NodeJS.WriteStream): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
  stream.write = (chunk: Uint8Array | string, ...rest: unknown[]) => {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
    return write(OWN_SEQUENCE.test(text) ? text : toTerminal(text), ...rest)
  }
}
