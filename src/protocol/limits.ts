/* By themselves, so that user modules that go to workers take along no more than these. */

/** Sizes and counts that every party enforces on what it receives. Bytes unless said otherwise. */
export const limits = {
  /** One HTTP body of JSON. */
  body: 64 << 20,
  /** One exchange of a worker, either way. */
  exchange: 32 << 20,
  /** A body that carries no tasks or results. */
  smallBody: 1 << 20,
  /** Tasks in one submission, one lease or one batch of results. */
  batch: 20_000,
  /** Parts of values in one request. */
  parts: 1_000,
  /** Values in one body: arrays, objects, strings and so on, each task's arguments and each result's value being one. */
  values: 320_000,
  /** What a user calls one task, UTF-16 units. */
  key: 200,
  /** One task's arguments or one result's value, as JSON text. */
  value: 8 << 20,
  /**
   * From this size on a part of an argument or result travels as a blob. About here both ways take the same time, as
   * `npm run bench:apps` shows; larger ones are faster as blobs, and the ledger stays small.
   */
  inline: 128 << 10,
  /** One blob. */
  blob: 256 << 20,
  /** Blobs of one task's arguments or one result. */
  blobs: 1_000,
  /** Nesting of arrays and objects in one task's arguments or one result's value. */
  depth: 500,
  /** An error message or stack kept for a user. */
  errorText: 16 << 10,
  /** Causes of causes, and errors in all that one error may bring along. */
  errorDepth: 5,
  errors: 30,
  /** What is kept of what one task printed, characters: its end. */
  log: 16 << 10,
  /** Longest time limit of a task: what a timer of the runtime can wait, milliseconds. */
  taskTime: 2 ** 31 - 1,
  /** Longest long-poll, milliseconds. */
  wait: 60_000,
} as const
