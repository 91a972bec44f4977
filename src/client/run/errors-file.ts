import { rm } from 'node:fs/promises'
import { readFileLines } from '../../common/read-lines.ts'
import { limits, parseJson } from '../../protocol/primitives.ts'
import { openSink } from '../formats/write-bytes.ts'
import { isFailure } from './output.ts'
import { errorsPath } from './table-output.ts'

/** Copies the lines of an output that tell of failures to a file beside it, which is not there if none does. */
export async function copyFailures(output: string, failed: number): Promise<void> {
  const path = errorsPath(output)
  if (failed === 0) return await rm(path, { force: true })
  await using sink = await openSink(path, undefined)
  for await (const { bytes } of readFileLines(output, limits.body))
    if (isFailure(parseJson(bytes.toString()))) await sink.write(Buffer.concat([bytes, NEWLINE]))
  await sink.finish()
}

const NEWLINE = Buffer.from('\n')
