import { rename, writeFile } from 'node:fs/promises'

/** Replaces a file of JSON at once, or makes it: only this user can read it, and a reader finds the old or the new one whole. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFile(`${file}.new`, JSON.stringify(value), { mode: 0o600 })
  await rename(`${file}.new`, file)
}
