import { hash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'

/*
 * Python's package as a wheel: a ZIP archive of its sources with three files that say what it is. Made without Python, and of the
 * same bytes each time.
 */

/** A file of an archive. */
interface Entry {
  path: string
  content: Buffer
}

/** The name that an installer expects of the wheel's file. */
export const wheelName = (version: string): string => `gleaner-${version}-py3-none-any.whl`

/**
 * Makes the wheel.
 *
 * @param folder the one with the package `gleaner` in it
 * @param version of the package, such as `0.1.0`
 */
export function makeWheel(folder: string, version: string): Buffer {
  const sources = globSync('gleaner/**/*.py', { cwd: folder }).sort()
  const entries = sources.map((path) => ({ path, content: readFileSync(join(folder, path)) }))
  const info = `gleaner-${version}.dist-info`
  const described = [
    ...entries,
    { path: `${info}/METADATA`, content: Buffer.from(metadata(version)) },
    { path: `${info}/WHEEL`, content: Buffer.from(WHEEL) },
  ]
  const record = [...described.map(recordLine), `${info}/RECORD,,`, ''].join('\n')
  return zip([...described, { path: `${info}/RECORD`, content: Buffer.from(record) }])
}

const WHEEL = 'Wheel-Version: 1.0\nGenerator: gleaner\nRoot-Is-Purelib: true\nTag: py3-none-any\n'

const metadata = (version: string) =>
  [
    'Metadata-Version: 2.1',
    'Name: gleaner',
    `Version: ${version}`,
    "Summary: Calls of Python functions on a Gleaner factory's workers, which keep their models loaded",
    'License: Apache-2.0',
    'Requires-Python: >=3.8',
    'Provides-Extra: full',
    "Requires-Dist: cloudpickle; extra == 'full'",
    '',
  ].join('\n')

function recordLine({ path, content }: Entry): string {
  const digest = hash('sha256', content, 'base64url')
  return `${path},sha256=${digest},${content.length}`
}

/** The earliest day that a ZIP archive knows: 1 January 1980. */
const DATE = 0x21
const VERSION = 20
const DEFLATED = 8
const UTF8 = 0x800
/** A plain file that its owner may write and all may read. */
const MODE = (0o100644 << 16) >>> 0
const MADE_ON_UNIX = (3 << 8) | VERSION

function zip(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const { path, content } of entries) {
    const name = Buffer.from(path)
    const packed = deflateRawSync(content, { level: 9 })
    const common = Buffer.alloc(26)
    common.writeUInt16LE(VERSION, 0)
    common.writeUInt16LE(UTF8, 2)
    common.writeUInt16LE(DEFLATED, 4)
    common.writeUInt16LE(0, 6)
    common.writeUInt16LE(DATE, 8)
    common.writeUInt32LE(crc32(content), 10)
    common.writeUInt32LE(packed.length, 14)
    common.writeUInt32LE(content.length, 18)
    common.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, name, packed])
    const more = Buffer.alloc(14)
    more.writeUInt32LE(MODE, 6)
    more.writeUInt32LE(at, 10)
    const made = Buffer.alloc(2)
    made.writeUInt16LE(MADE_ON_UNIX, 0)
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02'), made, common, more, name]))
    parts.push(local)
    at += local.length
  }
  const central = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 0, 'latin1')
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(central.length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, central, end])
}
