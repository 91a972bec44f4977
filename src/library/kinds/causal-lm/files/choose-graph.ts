/* Which of a model's graphs to load. Pure: what lies there in, a choice and its reason out. */

/** A graph, and what it takes on disk with its external data, bytes. */
export interface GraphFile {
  /** Path in the model's folder. */
  readonly path: string
  readonly bytes: number
}

export interface GraphChoice {
  readonly path: string
  /** Why this one, for the log. */
  readonly reason: string
}

/**
 * Forms of weights that exports come in, best first. On a processor half precision is computed as single precision, at
 * more cost, so it comes after all that keep to whole weights; 4 bits lose more than 8.
 */
export const ORDER = {
  cpu: ['', '_quantized', '_int8', '_uint8', '_q4', '_bnb4', '_fp16', '_q4f16'],
  device: ['_fp16', '', '_q4f16', '_q4', '_bnb4', '_quantized', '_int8', '_uint8'],
} as const

/** Loaded weights take about this much more than on disk: the runtime packs them for the processor. */
const LOADED_SHARE = 1.2

/**
 * Chooses the graph `stem`.onnx or one of its forms, `stem`_fp16.onnx and so on: the only one there, or else the first in
 * {@link ORDER} that fits the memory, or else the smallest.
 *
 * @param memory bytes that the model may take
 * @returns undefined if there is none
 */
export function chooseGraph(
  files: readonly GraphFile[],
  stem: string,
  device: 'cpu' | 'device',
  memory: number,
): GraphChoice | undefined {
  const forms = new Map(files.map((file) => [formOf(file.path, stem), file]))
  forms.delete(undefined)
  const known = ORDER[device].flatMap((form) => forms.get(form) ?? [])
  const candidates = known.length > 0 ? known : [...forms.values()]
  const [first] = candidates
  if (!first) return undefined
  if (candidates.length === 1) return { path: first.path, reason: 'the only graph there' }
  const place = device === 'cpu' ? 'a processor' : 'an accelerator'
  const fits = candidates.find(({ bytes }) => bytes * LOADED_SHARE <= memory)
  if (fits === first) return { path: first.path, reason: `the best form for ${place}` }
  if (fits) return { path: fits.path, reason: `the best form for ${place} that fits ${toMib(memory)} MiB` }
  const smallest = candidates.reduce((least, file) => (file.bytes < least.bytes ? file : least), first)
  return { path: smallest.path, reason: `the smallest, though none fits ${toMib(memory)} MiB` }
}

/** What follows the stem in a graph's name: '' or `_fp16`; undefined if it is another graph. */
function formOf(path: string, stem: string): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (!name.startsWith(stem) || !name.endsWith('.onnx')) return undefined
  const form = name.slice(stem.length, -'.onnx'.length)
  return form === '' || /^_(?!merged|with_past)[a-z0-9]+$/.test(form) ? form : undefined
}

function toMib(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
