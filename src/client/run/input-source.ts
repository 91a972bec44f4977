import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { InputError } from '../errors.ts'
import { type Format } from '../formats/format-names.ts'
import { openInput, type InputFile } from '../formats/read-rows.ts'

/** What a run reads, all of it files that can be read more than once. */
export interface Source extends AsyncDisposable {
  readonly files: readonly InputFile[]
  /** The same for the same files, by their absolute paths; for standard input, by its content. */
  readonly identity: string
}

/** The path that stands for standard input. */
export const STDIN = '-'

/**
 * Opens the inputs of a run. Standard input is written to a temporary file first.
 *
 * @throws {InputError} for what is no file, or of a kind that is not read
 */
export async function openSource(
  paths: readonly string[],
  format: Format | undefined,
  signal?: AbortSignal,
): Promise<Source> {
  if (paths.length === 0) throw new InputError('there is no input: name a file')
  if (paths.length > 1 && paths.includes(STDIN))
    throw new InputError('standard input and files cannot be read together: run one after the other')
  if (paths[0] === STDIN) return await spool(format, signal)
  const files: InputFile[] = []
  for (const path of paths) {
    await requireFile(path)
    const real = await realpath(path)
    if (files.some((file) => file.path === real)) throw new InputError(`${path} is given twice`)
    files.push(await openInput(real, path, format))
  }
  const formats = new Set(files.map(({ kind }) => kind.format))
  if (formats.has('openai') && formats.size > 1)
    throw new InputError('files of OpenAI requests and others cannot be read together')
  return {
    files,
    identity: files.map((file) => file.path).join('\0'),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

async function requireFile(path: string): Promise<void> {
  const found = await stat(path)
  if (found.isDirectory())
    throw new InputError(`${path} is a folder: name the files in it, such as '${join(path, '*.jsonl')}'`)
  if (!found.isFile())
    throw new InputError(`${path} is not a file, and a run reads its input more than once: pipe it in as -`)
}

async function spool(format: Format | undefined, signal: AbortSignal | undefined): Promise<Source> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-stdin-'))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    const path = join(folder, 'input')
    const hash = createHash('sha256')
    const tee = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk)
        done(null, chunk)
      },
    })
    await pipeline(process.stdin, tee, createWriteStream(path, { mode: 0o600 }), { signal })
    const file = await openInput(path, 'standard input', format)
    return { files: [file], identity: `stdin:${hash.digest('hex')}`, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}
