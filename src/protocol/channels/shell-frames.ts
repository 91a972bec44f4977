import { z } from 'zod'
import { frame, frameReader, noBody, wholeBody } from './frames.ts'
import type { FrameReader } from './frames.ts'

/*
 * A shell: a terminal or a command in a pilot, at the other end of a user's own terminal. The user's command opens a channel to
 * the manager by `GET /v1/pilots/:pilot/shell` with `upgrade: gleaner-shell`, authorised by the owner's token. The pilot learns
 * through its exchange that one is wanted, and dials `GET /v1/workers/:worker/shells/:shell` in the same way, authorised by its
 * session. From then on the manager passes frames (see `frames.ts`) from one to the other.
 *
 *   user    OPEN       0        length   what is wanted: a {@link ShellRequest} as JSON follows. The first frame, once
 *           INPUT      0        length   bytes for it
 *           INPUT_END  0        0        there are no more
 *           RESIZE     columns  rows     the user's terminal has this size now
 *           SIGNAL     number   0        for a command without a terminal, e.g. 2 for Ctrl-C
 *   pilot   OPENED     0        0        it runs
 *           OUTPUT     0        length   bytes it wrote: all of a terminal's, or its standard output
 *           ERROR      0        length   what it wrote to its standard error, without a terminal
 *           TAKEN      bytes    0        so many bytes of its input were taken: as many more may be sent
 *           EXIT       code     signal   it ended with this code, or by this signal. Nothing follows
 *           FAILED     0        length   it cannot be: text says why. Nothing follows
 *   both    PING       0        0        still here; not passed on
 *
 * At most {@link INPUT_WINDOW} bytes of input are on their way, so that a signal never waits behind input that is not read. Output
 * is held back by the connection itself. Whatever else comes ends the channel.
 */

/** What the `upgrade` header says. */
export const SHELL = 'gleaner-shell'

export const ShellFrame = {
  OPEN: 1,
  INPUT: 2,
  INPUT_END: 3,
  RESIZE: 4,
  SIGNAL: 5,
  OPENED: 6,
  OUTPUT: 7,
  ERROR: 8,
  TAKEN: 9,
  EXIT: 10,
  FAILED: 11,
  PING: 12,
} as const

/** The file descriptor of a shell's process that is its channel, given by its worker. */
export const SHELL_FD = 3

/** Most bytes that one frame carries. */
export const SHELL_BYTES = 64 << 10
/** Most bytes of input that are sent and not taken yet. */
export const INPUT_WINDOW = 256 << 10
/** Longest text of FAILED, bytes. */
const REASON_MAX = 4 << 10
/** Largest sides of a terminal, characters. */
const SIDE_MAX = 5_000
/** Codes of processes and numbers of signals. */
const CODE_MAX = 255
const SIGNAL_MAX = 64

/** The name by which a shell is wanted of a pilot: only the manager makes them. */
export const ShellId = z.string().regex(/^[0-9a-f]{32}$/)

const Side = z.int().min(1).max(SIDE_MAX)

/** What a user wants in a pilot. */
export const ShellRequest = z.strictObject({
  /** A program and its arguments. Default: the user's login shell. */
  command: z
    .array(
      z
        .string()
        .max(SHELL_BYTES)
        .regex(/^[^\0]*$/, 'an argument cannot hold a NUL'),
    )
    .min(1)
    .max(1000)
    .optional(),
  /** The user's terminal, if it is to run in one: its size, and what `TERM` says of it. */
  terminal: z
    .strictObject({ columns: Side, rows: Side, type: z.string().regex(/^[\w.+-]{1,64}$/) })
    .optional(),
  /** Whether there is input for it. A terminal always has some. */
  input: z.boolean(),
  /** Who wants it, as the user's own machine says: for the log. */
  user: z
    .string()
    .max(200)
    .regex(/^\P{Cc}*$/u),
})
export type ShellRequest = z.infer<typeof ShellRequest>

/** One frame: its two numbers, and its bytes if its kind has some. */
export type ShellMessage = { kind: number; first: number; second: number; body: Buffer }

type Rule = { bytes: number } | { first: [number, number]; second: [number, number] }
const NONE: Rule = { first: [0, 0], second: [0, 0] }
const rules: Record<'user' | 'pilot', Record<number, Rule>> = {
  user: {
    [ShellFrame.OPEN]: { bytes: SHELL_BYTES },
    [ShellFrame.INPUT]: { bytes: SHELL_BYTES },
    [ShellFrame.INPUT_END]: NONE,
    [ShellFrame.RESIZE]: { first: [1, SIDE_MAX], second: [1, SIDE_MAX] },
    [ShellFrame.SIGNAL]: { first: [1, SIGNAL_MAX], second: [0, 0] },
    [ShellFrame.PING]: NONE,
  },
  pilot: {
    [ShellFrame.OPENED]: NONE,
    [ShellFrame.OUTPUT]: { bytes: SHELL_BYTES },
    [ShellFrame.ERROR]: { bytes: SHELL_BYTES },
    [ShellFrame.TAKEN]: { first: [1, INPUT_WINDOW], second: [0, 0] },
    [ShellFrame.EXIT]: { first: [0, CODE_MAX], second: [0, SIGNAL_MAX] },
    [ShellFrame.FAILED]: { bytes: REASON_MAX },
    [ShellFrame.PING]: NONE,
  },
}

/**
 * Reads what one side sends, and throws on what it may not send. PING is checked like the rest.
 * @param from whose bytes they are
 */
export function shellReader(from: 'user' | 'pilot', take: (message: ShellMessage) => void): FrameReader {
  return frameReader((kind, first, second) => {
    const rule = rules[from][kind]
    if (!rule) throw new Error(`a ${from} does not send frames of kind ${kind}`)
    if ('bytes' in rule) {
      if (first !== 0 || second === 0 || second > rule.bytes)
        throw new Error(`a frame of kind ${kind} with ${second} bytes`)
      return wholeBody(second, (body) => take({ kind, first, second, body }))
    }
    const fits = (value: number, [least, most]: [number, number]) => value >= least && value <= most
    if (!fits(first, rule.first) || !fits(second, rule.second))
      throw new Error(`a frame of kind ${kind} says ${first} and ${second}`)
    return noBody(() => take({ kind, first, second, body: Buffer.alloc(0) }))
  })
}

/** Text for FAILED. */
export function failedFrame(reason: string): Buffer {
  const text = Buffer.from(reason || 'it failed').subarray(0, REASON_MAX)
  return frame(ShellFrame.FAILED, 0, text.length, text)
}

/** Bytes as frames that carry them. */
export function* byteFrames(kind: number, bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += SHELL_BYTES) {
    const part = bytes.subarray(at, at + SHELL_BYTES)
    yield frame(kind, 0, part.length, part)
  }
}
