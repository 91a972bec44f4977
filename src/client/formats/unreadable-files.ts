import type { Format } from './format-names.ts'

/*
 * What a file is that cannot be read as it is, told by how it begins.
 */

/** A kind of file that is not read, and what to do about it. */
interface Foreign {
  what: string
  advice: string
}

const startsWith = (head: Buffer, ...bytes: number[]) => bytes.every((byte, i) => head[i] === byte)

/** The kinds of file that are known by their first bytes. */
const FOREIGN: [what: string, advice: string, ...magic: number[]][] = [
  ['compressed with bzip2', unpack('bzip2 -dc'), 0x42, 0x5a, 0x68],
  ['compressed with xz', unpack('xz -dc'), 0xfd, 0x37, 0x7a, 0x58, 0x5a],
  ['a zip archive', unpack('unzip -p'), 0x50, 0x4b, 0x03, 0x04],
  ['UTF-16', 'convert it with "iconv -f UTF-16 -t UTF-8" first', 0xff, 0xfe],
  ['UTF-16', 'convert it with "iconv -f UTF-16 -t UTF-8" first', 0xfe, 0xff],
]

function unpack(command: string): string {
  return `unpack it first ("${command} FILE > tasks.jsonl")`
}

/**
 * What a file is, if its beginning shows that it is not of the format that it should have; undefined if nothing shows that.
 *
 * @param head the first bytes, some thousand of them
 */
export function foreignFormat(head: Buffer, format: Format): Foreign | undefined {
  for (const [what, advice, ...magic] of FOREIGN) if (startsWith(head, ...magic)) return { what, advice }
  return format === 'jsonl' || format === 'openai' ? foreignJson(head) : undefined
}

/** The same for a file that should have a JSON object or string a line. */
function foreignJson(head: Buffer): Foreign | undefined {
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
  for (const [separator, what, format] of [
    ['\t', 'a table with tabs', 'tsv'],
    [',', 'CSV', 'csv'],
  ] as const) {
    if (/^[^{["\d-]|^"(?:[^"\\]|\\.)*"\s*[,\t]/.test(first) && first.includes(separator)) {
      return { what, advice: `give it a name that ends in .${format}, or say --format ${format}` }
    }
  }
  return undefined
}
