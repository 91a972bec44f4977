import type { InferenceSession, Tensor } from 'onnxruntime-node'
import type { StatePort } from './graph.ts'
import { GraphWriter } from './onnx-writer.ts'
import type { Pick, State, StateStore } from './kv-cache.ts'
import { blankPort, integerTensor } from './tensors.ts'

/*
 * Keeps states on a device. Rows and columns are taken by small graphs of Gather, so that nothing of a state comes back:
 * only the numbers of rows and columns cross.
 */

export interface DeviceStore extends StateStore {
  close(): Promise<void>
}

/** Rows of one source whose columns move by the same distance. */
interface Part {
  readonly source: State
  readonly rows: readonly number[]
  readonly shift: number
  /** Where the rows go in the new state. */
  readonly targets: readonly number[]
}

/** @param open opens a session on the device whose named outputs stay there */
export function createDeviceStore(
  ports: readonly StatePort[],
  open: (model: Uint8Array, kept: readonly string[]) => Promise<InferenceSession>,
): DeviceStore {
  const sessions = new Map<number, Promise<InferenceSession>>()
  const release = ({ tensors }: State) => {
    for (const tensor of tensors) if (tensor.location === 'gpu-buffer') tensor.dispose()
  }
  const sessionFor = (parts: number) => {
    const known = sessions.get(parts)
    if (known) return known
    const opened = open(writeArrangement(ports, parts), ports.map(toName))
    sessions.set(parts, opened)
    return opened
  }

  return {
    room: () => undefined,
    release,
    discard: () => undefined,
    advance(state, width, tensors) {
      release(state)
      const columns = state.columns + width
      return { rows: state.rows, columns, capacity: columns, tensors }
    },
    blank: (rows) => ({
      rows,
      columns: 0,
      capacity: 0,
      tensors: ports.map((port) => blankPort(port, rows)),
    }),
    async arrange(picks, columns, { base }) {
      const parts = toParts(picks)
      const session = await sessionFor(parts.length)
      const feeds: Record<string, Tensor> = {}
      const integers = (name: string, values: readonly number[]) => {
        feeds[name] = integerTensor('int64', values, [values.length])
      }
      parts.forEach(({ source, rows, shift }, part) => {
        integers(`rows.${part}`, rows)
        // What lies where a row has no token is hidden by the mask: any of its columns will do.
        const last = source.columns - 1
        const column = (at: number) => Math.min(Math.max(at - shift, 0), last)
        integers(
          `columns.${part}`,
          Array.from({ length: columns }, (_, at) => column(at)),
        )
        source.tensors.forEach((tensor, i) => (feeds[`state.${i}.${part}`] = tensor))
      })
      const order: number[] = []
      parts.flatMap(({ targets }) => targets).forEach((target, at) => (order[target] = at))
      if (parts.length > 1) integers('order', order)
      const outputs = await session.run(feeds)
      if (base) release(base)
      return {
        rows: picks.length,
        columns,
        capacity: columns,
        tensors: ports.map((port, i) => outputs[toName(port, i)] as Tensor),
      }
    },
    async close() {
      for (const session of sessions.values()) await (await session).release()
    },
  }
}

function toParts(picks: readonly Pick[]): Part[] {
  const keys = new Map<State, Map<number, Part & { rows: number[]; targets: number[] }>>()
  picks.forEach(({ source, row, from, to, count }, target) => {
    const shift = count === 0 ? 0 : to - from
    const parts = keys.get(source) ?? new Map<number, Part & { rows: number[]; targets: number[] }>()
    const part = parts.get(shift) ?? { source, rows: [], shift, targets: [] }
    part.rows.push(row)
    part.targets.push(target)
    keys.set(source, parts.set(shift, part))
  })
  return [...keys.values()].flatMap((parts) => [...parts.values()])
}

function toName(_: StatePort, i: number): string {
  return `arranged.${i}`
}

/** A graph that takes rows and columns of so many parts of a state, one below the other, and puts the rows in order. */
function writeArrangement(ports: readonly StatePort[], parts: number): Uint8Array {
  const g = new GraphWriter()
  const indices = (name: string) => g.input(name, 'int64', [`size of ${name}`])
  const rows = Array.from({ length: parts }, (_, part) => indices(`rows.${part}`))
  const columns = Array.from({ length: parts }, (_, part) => indices(`columns.${part}`))
  const order = parts > 1 ? indices('order') : undefined
  ports.forEach((port, i) => {
    const shape = (of: string) => port.dims.map((size, axis) => (size === 0 ? `${of} ${axis}` : size))
    const taken = Array.from({ length: parts }, (_, part) => {
      const state = g.input(`state.${i}.${part}`, port.type, shape(`${i} ${part}`))
      const only = g.op('Gather', [state, rows[part] as string], { axis: 0 })
      return port.grows === undefined
        ? only
        : g.op('Gather', [only, columns[part] as string], { axis: port.grows })
    })
    const name = g.output(toName(port, i), port.type, shape(`all ${i}`))
    if (order === undefined) g.op('Identity', taken, {}, name)
    else g.op('Gather', [g.op('Concat', taken, { axis: 0 }), order], { axis: 0 }, name)
  })
  return g.toModel()
}
