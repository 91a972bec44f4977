import type { Tensor } from 'onnxruntime-node'
import type { StatePort } from './graph.ts'
import { makeTensor, type Numbers } from './tensors.ts'

/*
 * What a model remembers of rows: one tensor for each part of its state. Growing parts have one column for each token and
 * are as wide for all rows; where a row has fewer tokens, its other columns are padding.
 */

/** What is remembered of some rows. A state has one owner, who hands it on or releases it. */
export interface State {
  readonly rows: number
  /** Columns of the parts that grow. */
  readonly columns: number
  readonly tensors: readonly Tensor[]
}

/** Where a row of a new state comes from: `count` columns of a row, and where they go. */
export interface Pick {
  readonly source: State
  readonly row: number
  readonly from: number
  readonly to: number
  readonly count: number
}

/** Where states are kept: in memory, or on a device. */
export interface StateStore {
  /** Rows of which nothing is remembered yet. */
  blank(rows: number): State
  /**
   * A state of one row for each pick, `columns` wide, padding in zeros.
   *
   * @param base is used up: rows that stay where they were cost nothing
   */
  arrange(picks: readonly Pick[], columns: number, base?: State): Promise<State>
  /** Tensors that a pass may write its state to; undefined where the runtime makes them. */
  room(rows: number, columns: number): readonly Tensor[] | undefined
  release(state: State): void
}

/** Spare room of a buffer, so that a state that grows by a column at a time needs a new one now and then only. */
const SPARE = 1.25

/** Keeps states in memory, in buffers that are used again. */
export function createMemoryStore(ports: readonly StatePort[]): StateStore {
  const pools = ports.map(createPool)
  const buffers = new WeakMap<Tensor, Numbers>()

  const room = (rows: number, columns: number) => ports.map((_, i) => tensorOf(i, rows, columns))
  const tensorOf = (i: number, rows: number, columns: number, buffer?: Numbers) => {
    const port = ports[i] as StatePort
    const length = rows * strides(port, columns).row
    const used = buffer ?? (pools[i] as Pool).take(length)
    const tensor = makeTensor(port.type, used.subarray(0, length), sizes(port, rows, columns))
    buffers.set(tensor, used)
    return tensor
  }
  const release = (state: State) =>
    state.tensors.forEach((tensor, i) => {
      const buffer = buffers.get(tensor)
      if (buffer) (pools[i] as Pool).give(buffer)
      buffers.delete(tensor)
    })

  return {
    room,
    release,
    blank(rows) {
      const tensors = room(rows, 0)
      for (const tensor of tensors) (buffers.get(tensor) as Numbers).fill(0, 0, tensor.size)
      return { rows, columns: 0, tensors }
    },
    arrange(picks, columns, base) {
      const stays = (pick: Pick, row: number) => pick.source === base && pick.row === row
      const inPlace =
        base?.columns === columns && picks.every((pick) => pick.source !== base || pick.from === pick.to)
      const tensors = ports.map((port, i) => {
        const { row: stride } = strides(port, columns)
        const held = inPlace ? buffers.get(base.tensors[i] as Tensor) : undefined
        if (held && held.length >= picks.length * stride) {
          picks.forEach((pick, row) => {
            if (!stays(pick, row)) copyRow(port, pick, i, held, row, columns)
          })
          buffers.delete((base as State).tensors[i] as Tensor)
          return tensorOf(i, picks.length, columns, held)
        }
        const tensor = tensorOf(i, picks.length, columns)
        picks.forEach((pick, row) => copyRow(port, pick, i, buffers.get(tensor) as Numbers, row, columns))
        return tensor
      })
      if (base) release(base)
      return Promise.resolve({ rows: picks.length, columns, tensors })
    },
  }

  function copyRow(port: StatePort, pick: Pick, i: number, target: Numbers, row: number, columns: number) {
    const from = buffers.get(pick.source.tensors[i] as Tensor) as Numbers
    const { row: width, outer, inner } = strides(port, columns)
    if (port.grows === undefined) {
      target.set(from.subarray(pick.row * width, (pick.row + 1) * width), row * width)
      return
    }
    const there = pick.source.columns * inner
    const here = columns * inner
    for (let o = 0; o < outer; o++) {
      const start = (pick.row * outer + o) * there + pick.from * inner
      const end = (row * outer + o) * here
      const first = end + pick.to * inner
      const last = first + pick.count * inner
      target.set(from.subarray(start, start + pick.count * inner), first)
      target.fill(0, end, first)
      target.fill(0, last, end + here)
    }
  }
}

function sizes({ dims, grows }: StatePort, rows: number, columns: number): number[] {
  return dims.map((size, axis) => (axis === 0 ? rows : axis === grows ? columns : size))
}

/** Numbers in a row, and in it stretches of columns (`outer`) of so many numbers each (`inner`). */
function strides({ dims, grows }: StatePort, columns: number) {
  const product = (from: number, to: number) => dims.slice(from, to).reduce((a, b) => a * b, 1)
  if (grows === undefined) return { row: product(1, dims.length), outer: 1, inner: 0 }
  const outer = product(1, grows)
  const inner = product(grows + 1, dims.length)
  return { row: outer * columns * inner, outer, inner }
}

interface Pool {
  take(length: number): Numbers
  give(buffer: Numbers): void
}

/** Buffers of one part that are not in use. Those that turn out too small are let go. */
function createPool({ type }: StatePort): Pool {
  const free: Numbers[] = []
  return {
    take(length) {
      for (;;) {
        const buffer = free.pop()
        if (!buffer) break
        if (buffer.length >= length) return buffer
      }
      const size = Math.ceil(length * SPARE)
      return type === 'float16' ? new Uint16Array(size) : new Float32Array(size)
    },
    give(buffer) {
      free.push(buffer)
      free.sort((a, b) => a.length - b.length)
      if (free.length > POOLED) free.shift()
    },
  }
}

/** Buffers of a part that are kept when none is in use: what goes into a pass, what comes out, and a prompt's. */
const POOLED = 3
