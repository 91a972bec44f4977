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
  /** Columns of the parts that grow. A state that has room beyond them may be given fewer: they become room. */
  readonly columns: number
  /** Columns that their tensors have: those beyond are room for more. */
  readonly capacity: number
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
   * @param room columns by which it is about to grow
   */
  arrange(
    picks: readonly Pick[],
    columns: number,
    options: { readonly base?: State | undefined; readonly room?: number },
  ): Promise<State>
  /** Tensors that a pass may write to what it gives of its state; undefined where the runtime makes them. */
  room(state: State, width: number): readonly Tensor[] | undefined
  /**
   * The state after a pass of so many new columns.
   *
   * @param given by the pass: the whole state, or its new columns. Both states are used up.
   */
  advance(state: State, width: number, given: readonly Tensor[]): State
  /** Lets go of tensors that a pass was to write to, and did not. */
  discard(given: readonly Tensor[]): void
  release(state: State): void
}

/** Spare room of a buffer, so that a state that grows by a column at a time needs a new one now and then only. */
const SPARE = 1.25
/** A state that grows in place has columns in multiples of this: fewer would have it moved more often, more be read in vain. */
const STRIDE = 32

export interface MemoryOptions {
  /** Whether passes give new columns alone, which are then written behind the others. */
  readonly inPlace: boolean
}

/** Keeps states in memory, in buffers that are used again. */
export function createMemoryStore(ports: readonly StatePort[], { inPlace }: MemoryOptions): StateStore {
  const pools = ports.map(createPool)
  const buffers = new WeakMap<Tensor, Numbers>()
  const capacityFor = (columns: number, room = 1) =>
    inPlace && columns > 0 ? Math.ceil((columns + room) / STRIDE) * STRIDE : columns

  const make = (rows: number, columns: number) => ports.map((_, i) => tensorOf(i, rows, columns))
  const tensorOf = (i: number, rows: number, columns: number, buffer?: Numbers) => {
    const port = ports[i] as StatePort
    const length = rows * strides(port, columns).row
    const used = buffer ?? (pools[i] as Pool).take(length)
    const tensor = makeTensor(port.type, used.subarray(0, length), sizes(port, rows, columns))
    buffers.set(tensor, used)
    return tensor
  }
  const discard = (tensors: readonly Tensor[], kept: readonly Tensor[] = []) =>
    tensors.forEach((tensor, i) => {
      if (kept[i] === tensor) return
      const buffer = buffers.get(tensor)
      if (buffer) (pools[i] as Pool).give(buffer)
      buffers.delete(tensor)
    })
  const release = (state: State) => discard(state.tensors)
  const copy = (picks: readonly Pick[], i: number, capacity: number) => {
    const tensor = tensorOf(i, picks.length, capacity)
    const target = buffers.get(tensor) as Numbers
    picks.forEach((pick, row) => copyRow(ports[i] as StatePort, pick, i, target, row, capacity))
    return tensor
  }
  /** Writes new columns behind the others, in place where there is room. */
  const append = (state: State, width: number, given: readonly Tensor[]): State => {
    const { rows, columns, capacity } = state
    const whole = columns + width
    const needed = whole <= capacity ? capacity : capacityFor(whole)
    const all = Array.from({ length: rows }, (_, row) => ({
      source: state,
      row,
      from: 0,
      to: 0,
      count: columns,
    }))
    const tensors = ports.map((port, i) => {
      if (port.grows === undefined) return given[i] as Tensor
      const tensor = needed === capacity ? (state.tensors[i] as Tensor) : copy(all, i, needed)
      const { outer, inner } = strides(port, width)
      const fresh = (given[i] as Tensor).data as Numbers
      const target = buffers.get(tensor) as Numbers
      writeColumns(target, fresh, {
        lines: rows * outer,
        length: width * inner,
        step: needed * inner,
        at: columns * inner,
      })
      return tensor
    })
    discard(given, tensors)
    discard(state.tensors, tensors)
    return { rows, columns: whole, capacity: needed, tensors }
  }

  return {
    release,
    discard: (given) => discard(given),
    room: ({ rows, columns }, width) => make(rows, inPlace ? width : columns + width),
    advance(state, width, given) {
      if (inPlace) return append(state, width, given)
      release(state)
      const columns = state.columns + width
      return { rows: state.rows, columns, capacity: columns, tensors: given }
    },
    blank(rows) {
      const tensors = make(rows, 0)
      for (const tensor of tensors) (buffers.get(tensor) as Numbers).fill(0, 0, tensor.size)
      return { rows, columns: 0, capacity: 0, tensors }
    },
    arrange(picks, columns, { base, room = 0 }) {
      const stays = (pick: Pick, row: number) => pick.source === base && pick.row === row
      const stayed =
        base?.columns === columns && picks.every((pick) => pick.source !== base || pick.from === pick.to)
      const capacity = stayed ? base.capacity : capacityFor(columns, room)
      const tensors = ports.map((port, i) => {
        const { row: stride } = strides(port, capacity)
        const held = stayed ? buffers.get(base.tensors[i] as Tensor) : undefined
        if (held && held.length >= picks.length * stride) {
          picks.forEach((pick, row) => {
            if (!stays(pick, row)) copyRow(port, pick, i, held, row, capacity)
          })
          buffers.delete((base as State).tensors[i] as Tensor)
          return tensorOf(i, picks.length, capacity, held)
        }
        return copy(picks, i, capacity)
      })
      if (base) release(base)
      return Promise.resolve({ rows: picks.length, columns, capacity, tensors })
    },
  }

  function copyRow(port: StatePort, pick: Pick, i: number, target: Numbers, row: number, columns: number) {
    const from = buffers.get(pick.source.tensors[i] as Tensor) as Numbers
    const { row: width, outer, inner } = strides(port, columns)
    if (port.grows === undefined) {
      target.set(from.subarray(pick.row * width, (pick.row + 1) * width), row * width)
      return
    }
    const there = pick.source.capacity * inner
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

/** Writes stretches that lie one behind the other, each to its line: for stretches this short, quicker than copies. */
function writeColumns(
  target: Numbers,
  source: Numbers,
  { lines, length, step, at }: { lines: number; length: number; step: number; at: number },
): void {
  for (let line = 0; line < lines; line++) {
    const from = line * length
    const to = line * step + at
    if (length > SHORT) target.set(source.subarray(from, from + length), to)
    else for (let i = 0; i < length; i++) target[to + i] = source[from + i] as number
  }
}

/** Numbers up to which a loop copies a stretch sooner than a call does. */
const SHORT = 256

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

/** Buffers of one part that are not in use, the one given back longest ago first. */
function createPool({ type }: StatePort): Pool {
  const free: Numbers[] = []
  return {
    take(length) {
      const fits = free.findLastIndex((one) => one.length >= length && one.length <= WASTE * length)
      if (fits >= 0) return free.splice(fits, 1)[0] as Numbers
      const size = Math.ceil(length * SPARE)
      return type === 'float16' ? new Uint16Array(size) : new Float32Array(size)
    },
    give(buffer) {
      free.push(buffer)
      if (free.length > POOLED) free.shift()
    },
  }
}

/** A buffer this many times as large as is wanted is kept for something larger. */
const WASTE = 4

/** Buffers of a part that are kept when none is in use: what goes into a pass, what comes out, and those of a prompt's. */
const POOLED = 5
