import type { Tensor } from 'onnxruntime-node'
import type { StatePort } from './graph.ts'
import type { Pick, State, StateStore } from './kv-cache.ts'
import { makeTensor, type Numbers } from './tensors.ts'

/** Spare room of a buffer, so that a state that grows by a column at a time needs a new one now and then only. */
const SPARE = 1.25
/** A state that grows in place has columns in multiples of this: fewer would have it moved more often, more be read in vain. */
const STRIDE = 32

export interface MemoryOptions {
  /** Whether passes give new columns alone, which are then written behind the others. */
  readonly inPlace: boolean
}

/** Keeps states in memory, in buffers that are used again. */
export class MemoryStore implements StateStore {
  readonly #ports: readonly StatePort[]
  readonly #inPlace: boolean
  readonly #pools: readonly Pool[]
  readonly #buffers = new WeakMap<Tensor, Numbers>()

  constructor(ports: readonly StatePort[], { inPlace }: MemoryOptions) {
    this.#ports = ports
    this.#inPlace = inPlace
    this.#pools = ports.map(createPool)
  }

  blank(rows: number): State {
    const tensors = this.#makeAll(rows, 0)
    for (const tensor of tensors) this.#bufferOf(tensor).fill(0, 0, tensor.size)
    return { rows, columns: 0, capacity: 0, tensors }
  }

  room({ rows, columns }: State, width: number): Tensor[] {
    return this.#makeAll(rows, this.#inPlace ? width : columns + width)
  }

  advance(state: State, width: number, given: readonly Tensor[]): State {
    if (this.#inPlace) return this.#append(state, width, given)
    this.release(state)
    const columns = state.columns + width
    return { rows: state.rows, columns, capacity: columns, tensors: given }
  }

  /** Tensors of which a new state keeps some stay. */
  discard(tensors: readonly Tensor[], kept: readonly Tensor[] = []): void {
    tensors.forEach((tensor, i) => {
      if (kept[i] === tensor) return
      const buffer = this.#buffers.get(tensor)
      if (buffer) (this.#pools[i] as Pool).give(buffer)
      this.#buffers.delete(tensor)
    })
  }

  release(state: State): void {
    this.discard(state.tensors)
  }

  arrange(
    picks: readonly Pick[],
    columns: number,
    { base, room = 0 }: { readonly base?: State | undefined; readonly room?: number },
  ): Promise<State> {
    const stayed =
      base?.columns === columns && picks.every((pick) => pick.source !== base || pick.from === pick.to)
    const capacity = stayed ? base.capacity : this.#capacityFor(columns, room)
    const tensors = this.#ports.map(
      (_, i) => (stayed && this.#arrangeIn(base, picks, i)) || this.#copy(picks, i, capacity),
    )
    if (base) this.release(base)
    return Promise.resolve({ rows: picks.length, columns, capacity, tensors })
  }

  /** Arranges rows in the tensor of a state that has room for them; those that stay where they are cost nothing. */
  #arrangeIn(base: State, picks: readonly Pick[], i: number): Tensor | undefined {
    const { capacity } = base
    const old = base.tensors[i] as Tensor
    const held = this.#buffers.get(old)
    const { row: stride } = strides(this.#ports[i] as StatePort, capacity)
    if (!held || held.length < picks.length * stride) return undefined
    picks.forEach((pick, row) => {
      if (pick.source !== base || pick.row !== row) this.#copyRow(pick, i, held, row, capacity)
    })
    this.#buffers.delete(old)
    return this.#make(i, picks.length, capacity, held)
  }

  /** Writes new columns behind the others, in place where there is room. */
  #append(state: State, width: number, given: readonly Tensor[]): State {
    const { rows, columns, capacity } = state
    const whole = columns + width
    const needed = whole <= capacity ? capacity : this.#capacityFor(whole)
    const from = { source: state, from: 0, to: 0, count: columns }
    const all = Array.from({ length: rows }, (_, row) => ({ ...from, row }))
    const tensors = this.#ports.map((port, i) => {
      if (port.grows === undefined) return given[i] as Tensor
      const tensor = needed === capacity ? (state.tensors[i] as Tensor) : this.#copy(all, i, needed)
      const { outer, inner } = strides(port, width)
      const fresh = (given[i] as Tensor).data as Numbers
      writeColumns(this.#bufferOf(tensor), fresh, {
        lines: rows * outer,
        length: width * inner,
        step: needed * inner,
        at: columns * inner,
      })
      return tensor
    })
    this.discard(given, tensors)
    this.discard(state.tensors, tensors)
    return { rows, columns: whole, capacity: needed, tensors }
  }

  #capacityFor(columns: number, room = 1): number {
    return this.#inPlace && columns > 0 ? Math.ceil((columns + room) / STRIDE) * STRIDE : columns
  }

  #makeAll(rows: number, columns: number): Tensor[] {
    return this.#ports.map((_, i) => this.#make(i, rows, columns))
  }

  #make(i: number, rows: number, columns: number, buffer?: Numbers): Tensor {
    const port = this.#ports[i] as StatePort
    const length = rows * strides(port, columns).row
    const used = buffer ?? (this.#pools[i] as Pool).take(length)
    const tensor = makeTensor(port.type, used.subarray(0, length), sizes(port, rows, columns))
    this.#buffers.set(tensor, used)
    return tensor
  }

  #bufferOf(tensor: Tensor): Numbers {
    return this.#buffers.get(tensor) as Numbers
  }

  #copy(picks: readonly Pick[], i: number, capacity: number): Tensor {
    const tensor = this.#make(i, picks.length, capacity)
    const target = this.#bufferOf(tensor)
    picks.forEach((pick, row) => this.#copyRow(pick, i, target, row, capacity))
    return tensor
  }

  #copyRow(pick: Pick, i: number, target: Numbers, row: number, columns: number): void {
    const port = this.#ports[i] as StatePort
    const from = this.#bufferOf(pick.source.tensors[i] as Tensor)
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
