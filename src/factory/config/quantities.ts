import { z } from 'zod'

const secondsPer: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 }
const mebibytesPer: Record<string, number> = {
  M: 1,
  MB: 1,
  MiB: 1,
  G: 1024,
  GB: 1024,
  GiB: 1024,
  T: 1024 ** 2,
  TB: 1024 ** 2,
  TiB: 1024 ** 2,
}

function quantity(units: Record<string, number>, hint: string) {
  const pattern = new RegExp(`^(\\d+(?:\\.\\d+)?)\\s*(${Object.keys(units).join('|')})$`)
  return z.union([z.number(), z.string()], hint).transform((value, context) => {
    const match = pattern.exec(String(value))
    const amount = typeof value === 'number' ? value : Number(match?.[1]) * (units[match?.[2] ?? ''] ?? NaN)
    if (Number.isFinite(amount) && amount >= 0) return amount
    context.addIssue({ code: 'custom', message: hint })
    return z.NEVER
  })
}

/** A length of time, as `90s`, `15m`, `36h`, `2d` or a number of seconds; becomes seconds. */
export const Duration = quantity(secondsPer, 'expected a time like 90s, 15m, 36h or 2d')

/** A length of time that a timer has to wait: such a timer holds 24 days. */
export const Wait = Duration.refine((seconds) => seconds <= 24 * 86_400, 'at most 24d')

/** A size of memory or disk, as `512MB`, `16GB`, `1TB` (binary units, as batch systems count) or MiB; becomes MiB. */
export const Size = quantity(mebibytesPer, 'expected a size like 512MB, 16GB or 1TB').transform(Math.ceil)

/** Bytes a second, as `500KB`, `20MB` or `1GB` (decimal units, as networks count) or a number of them. */
export const Rate = quantity(
  { KB: 1e3, MB: 1e6, GB: 1e9 },
  'expected bytes a second like 500KB, 20MB or 1GB',
).refine((rate) => rate >= 1, 'at least 1 byte a second')
