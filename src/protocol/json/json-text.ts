import { z } from 'zod'

/**
 * A value that is passed on as the JSON text that it came as: it costs no more than its bytes, and nothing of it changes on
 * the way, such as the digits of a large number.
 */
export class JsonText {
  /** Valid JSON without white space around or between its parts. */
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** What stands in a schema where {@link readJson} kept a value as text. */
export const KeptJson = z.instanceof(JsonText)

/** The JSON of a value, or its text if it was kept as that. */
export function textOf(value: unknown): string {
  return value instanceof JsonText ? value.text : JSON.stringify(value)
}
