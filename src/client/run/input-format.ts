/*
 * What a file is that is not lines of JSON, told by how it begins. A reader of one more kind starts here.
 */

/** A kind of file that is not read, and what to do about it. */
interface Foreign {
  what: string
  advice: string
}

const startsWith = (head: Buffer, ...bytes: number[]) => bytes.every((byte, i) => head[i] === byte)

/** The kinds of file that are known by their first bytes. */
const PACKED: [what: string, command: string, ...magic: number[]][] = [
  ['compressed with gzip', 'gzip -dc', 0x1f, 0x8b],
  ['compressed with zstd', 'zstd -dc', 0x28, 0xb5, 0x2f, 0xfd],
  ['compressed with bzip2', 'bzip2 -dc', 0x42, 0x5a, 0x68],
  ['compressed with xz', 'xz -dc', 0xfd, 0x37, 0x7a, 0x58, 0x5a],
  ['a zip archive', 'unzip -p', 0x50, 0x4b, 0x03, 0x04],
]
const OTHER: [what: string, advice: string, ...magic: number[]][] = [
  ['a Parquet file', 'write its rows as lines of JSON first', 0x50, 0x41, 0x52, 0x31],
  ['UTF-16', 'convert it with "iconv -f UTF-16 -t UTF-8" first', 0xff, 0xfe],
  ['UTF-16', 'convert it with "iconv -f UTF-16 -t UTF-8" first', 0xfe, 0xff],
]

/**
 * What a file is, if its beginning shows that it is not one with a JSON object or string a line; undefined if nothing shows that.
 *
 * @param head the first bytes, some thousand of them
 */
export function foreignFormat(head: Buffer): Foreign | undefined {
  for (const [what, command, ...magic] of PACKED) {
    if (startsWith(head, ...magic))
      return { what, advice: `unpack it first ("${command} FILE > tasks.jsonl")` }
  }
  for (const [what, advice, ...magic] of OTHER) if (startsWith(head, ...magic)) return { what, advice }

  const text = head.toString()
  const [first = ''] = text.trimStart().split('\n')
  // One of anything else is a line that is no task.
  if (/^\[\s*([{"]|$)/.test(first)) {
    return { what: 'a JSON array', advice: `write an item a line first ("jq -c '.[]' FILE > tasks.jsonl")` }
  }
  if (/^\{\s*$/.test(first)) {
    return {
      what: 'JSON over several lines',
      advice: 'write an object a line first ("jq -c . FILE > tasks.jsonl")',
    }
  }
  // The header of a table: names and separators, none of which JSON begins with.
  for (const [separator, what] of [
    [',', 'CSV'],
    ['\t', 'a table with tabs'],
  ] as const) {
    if (/^[^{["\d-]|^"(?:[^"\\]|\\.)*"\s*,/.test(first) && first.includes(separator)) {
      return { what, advice: `write a JSON object a line first, with the columns as its fields` }
    }
  }
  return undefined
}
