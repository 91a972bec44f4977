/*
 * A channel: one connection over which a worker gets pieces of one bundle from a source. A file has hundreds of pieces, each
 * as soon as it can be passed on; an HTTP request for each cost both sides more than the pieces.
 *
 * It is opened by `GET /v1/pieces/:bundle` with `upgrade: gleaner-pieces`, authorised as the other routes of a source are.
 * From then on both sides send frames: three numbers (u32, little endian), the first of which is the frame's kind, and bytes.
 *
 *   worker  RUN      first   count    asks for those pieces
 *           ANY      most    length   asks for a run of the source's choice, of at most so many bytes, among the pieces in the
 *                                     bitmap that follows, of so many bytes; those it has sent least often first
 *           FOLLOW   0       0        asks what the source holds
 *   source  RUN      first   count    pieces; their bytes follow, one piece after the other
 *           NONE     0       0        it has given them all away before: ask peers
 *           BUSY     0       0        ask again soon
 *           HELD     pieces  length   of so many pieces it holds those in the bitmap that follows
 *           NEWS     0       length   and now these too: their numbers follow, u32
 *           REFUSED  0       length   not to be had here; so many bytes of text say why
 *
 * Piece i is bit i % 8 of byte i / 8 of a bitmap. One frame answers a RUN or ANY; a FOLLOW is answered until the source has
 * told of all pieces. A worker asks again when it has its answer; whatever else comes ends the channel.
 */

/** What the `upgrade` header says. */
export const CHANNEL = 'gleaner-pieces'

/**
 * The header by which a worker says which of its fetches a channel is for, so that one with many channels takes no more turns at the
 * source than one with few; and what it may hold.
 */
export const FETCH_HEADER = 'gleaner-fetch'
export const FETCH_NAME = /^[\w-]{1,64}$/

export const FrameKind = {
  RUN: 1,
  ANY: 2,
  FOLLOW: 3,
  NONE: 4,
  BUSY: 5,
  HELD: 6,
  NEWS: 7,
  REFUSED: 8,
} as const

/** Most bytes of pieces in one answer, unless a single piece is larger. */
export const RUN_MAX = 4 << 20
