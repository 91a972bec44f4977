import { randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { writeJson } from '../common/write-json.ts'
import { type Access, FULL_ACCESS } from '../manager/services/api-keys.ts'
import { mayUse, Owner } from './access.ts'
import { ApiFailure } from './error-bodies.ts'

const PURPOSES = ['batch', 'batch_output'] as const

/** A file as the API describes it. */
export const FileObject = z.object({
  id: z.string().regex(/^file-[a-f0-9]{32}$/),
  object: z.literal('file'),
  bytes: z.int(),
  /** Seconds since 1970. */
  created_at: z.int(),
  filename: z.string(),
  purpose: z.enum(PURPOSES),
  /** Files are looked through when they are used. */
  status: z.literal('processed').default('processed'),
})
export type FileObject = z.output<typeof FileObject>

/** A file with what only this program needs to know of it: whose it is. */
const FileRecord = FileObject.extend({ owner: Owner })
type FileRecord = z.output<typeof FileRecord>

/** Seconds since 1970, as the API has all its times. */
export const secondsNow = () => Math.floor(Date.now() / 1000)

export const newId = (kind: string) => `${kind}${randomUUID().replaceAll('-', '')}`

/**
 * Files that clients uploaded and batches wrote, in a folder of their own: the bytes under the file's id, what is said of them in
 * a JSON file beside, which is written last. A file without one is not there.
 */
export class FileStore {
  readonly #folder: string
  readonly #files: Map<string, FileRecord>

  private constructor(folder: string, files: Map<string, FileRecord>) {
    this.#folder = folder
    this.#files = files
  }

  /** Opens the folder, and deletes what an upload that broke off has left there. */
  static async open(folder: string): Promise<FileStore> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const files = new Map<string, FileRecord>()
    const names = new Set(await readdir(folder))
    for (const name of names) {
      if (!name.endsWith('.json')) continue
      const text = await readFile(join(folder, name), 'utf8')
      const parsed = FileRecord.safeParse(JSON.parse(text))
      if (parsed.success) files.set(parsed.data.id, parsed.data)
    }
    for (const name of names)
      if (!files.has(name.replace(/\.json$/, ''))) await rm(join(folder, name), { force: true })
    return new FileStore(folder, files)
  }

  /** Those that a key may see, newest first. */
  list(access: Access): FileObject[] {
    const seen = [...this.#files.values()].filter(({ owner }) => mayUse(access, owner)).map(toObject)
    return seen.sort((a, b) => b.created_at - a.created_at || b.id.localeCompare(a.id))
  }

  /** @throws {ApiFailure} 404, also if the key may not see it */
  get(id: string, access: Access = FULL_ACCESS): FileObject {
    const file = this.#files.get(id)
    if (!file || !mayUse(access, file.owner))
      throw new ApiFailure(404, `there is no file ${id}`, { param: 'file_id', code: 'file_not_found' })
    return toObject(file)
  }

  /** The bytes of a file. */
  read(id: string): Readable {
    return createReadStream(this.#path(this.get(id).id))
  }

  /**
   * Takes in a stream as a new file. If it breaks off, nothing is kept.
   *
   * @throws what the stream throws
   */
  async add(
    source: AsyncIterable<Uint8Array | string>,
    about: Pick<FileRecord, 'filename' | 'purpose' | 'owner'>,
    check: () => void = () => {},
  ): Promise<FileObject> {
    const id = newId('file-')
    try {
      await pipeline(source, createWriteStream(this.#path(id), { mode: 0o600, flags: 'wx' }))
      check()
      const { size } = await stat(this.#path(id))
      const head = { id, object: 'file', status: 'processed' } as const
      const file: FileRecord = { ...head, bytes: size, created_at: secondsNow(), ...about }
      await writeJson(this.#path(`${id}.json`), file)
      this.#files.set(id, file)
      return toObject(file)
    } catch (error) {
      await rm(this.#path(id), { force: true })
      throw error
    }
  }

  /** @throws {ApiFailure} 404 */
  async remove(id: string): Promise<void> {
    this.get(id)
    this.#files.delete(id)
    await rm(this.#path(`${id}.json`), { force: true })
    await rm(this.#path(id), { force: true })
  }

  #path(name: string): string {
    return join(this.#folder, name)
  }
}

const toObject = (file: FileRecord): FileObject => FileObject.parse(file)
