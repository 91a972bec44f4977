import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { Socket } from 'node:net'

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

/** Stands in front of the number of a style; random, so that no text from elsewhere can hold it. */
const STYLE_MARK = `\uFDD0${randomBytes(8).toString('hex')}`
const STYLES = new RegExp(`${STYLE_MARK}(\\d+);`, 'g')

const CODES = { red: 31, green: 32, yellow: 33, cyan: 36, bold: 1, dim: 2 } as const
export type Style = keyof typeof CODES

/** A text in a style, if the stream is a terminal and the user has not said otherwise (NO_COLOR). */
export function styled(text: string, style: Style, stream: NodeJS.WriteStream = process.stdout): string {
  if (!stream.isTTY || process.env['NO_COLOR'] || process.env['TERM'] === 'dumb') return text
  return `${STYLE_MARK}${CODES[style]};${text}${STYLE_MARK}0;`
}

type Write = (chunk: Uint8Array | string, ...rest: unknown[]) => boolean

/** What the streams did before they were cleaned. */
const rawWrites = new WeakMap<NodeJS.WriteStream, Write>()

/** Has everything that is written to this stream from here on pass through {@link toTerminal}, but for our own styles. */
export function cleanOutput(stream: NodeJS.WriteStream): void {
  const write = stream.write.bind(stream) as Write
  rawWrites.set(stream, write)
  stream.write = (chunk: Uint8Array | string, ...rest: unknown[]) => {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
    const clean = OWN_SEQUENCE.test(text) ? text : toTerminal(text).replace(STYLES, '\x1b[$1m')
    return write(clean, ...rest)
  }
}

/** Has nothing more be written to standard error but by {@link writeFailure}. */
export function silenceNotes(): void {
  process.stderr.write = () => true
}

/** Says what went wrong, also where notes are silenced. */
export function writeFailure(line: string): void {
  writeRaw(process.stderr, `${toTerminal(line)}\n`)
}

/** Writes to a terminal as it is, for a program that draws the whole of it: what is from elsewhere must be clean already. */
export function writeRaw(stream: NodeJS.WriteStream, text: string): boolean {
  return (rawWrites.get(stream) ?? ((raw: string) => stream.write(raw)))(text)
}

/** Where bytes go out as they are. */
export interface RawOutput {
  /** False when they are not taken as fast as they come, until `drain`. */
  write(bytes: Buffer): boolean
  on(event: 'drain' | 'error', listener: () => void): void
  /** Resolves when what was written has left. */
  flush(): Promise<void>
}

/**
 * A standard stream for what a user's own program wrote. Nothing waits for who reads it: Node writes to terminals and files before
 * it goes on, so these are written to beside it; and pipes must not be, which Node has made ones that are full rather than wait.
 */
export function rawOutput(stream: NodeJS.WriteStream & { fd: number }): RawOutput {
  const isPipe = stream instanceof Socket && !stream.isTTY
  const target = isPipe ? stream : createWriteStream('', { fd: stream.fd, autoClose: false })
  const write = (isPipe && rawWrites.get(stream)) || (target.write.bind(target) as Write)
  return {
    write: (bytes) => write(bytes),
    on: (event, listener) => void target.on(event, listener),
    flush: () => new Promise((resolve) => void write('', () => resolve())),
  }
}
