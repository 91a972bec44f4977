import { rename, writeFile } from 'node:fs/promises'

/** Replaces a file of JSON at once, or makes it: only this user can read it, and a reader finds the old or the new one whole. */
export function writeJson(file: string, value: unknown): Promise<void> {
  return replaceFile(file, JSON.stringify(value))
}

/** The same for a file of any text. */
export async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 })
  await rename(`${file}.new`, file)
}
