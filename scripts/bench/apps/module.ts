/* What the benchmark of applications calls: functions that cost next to nothing themselves. */
export const same = (n: number) => n
export const sizeOf = (bytes: Uint8Array) => bytes.length
export const make = (bytes: number) => Buffer.alloc(bytes, Math.random().toString())
