/** A point in time, milliseconds since 1970, in the reader's zone: `14:03:20` today, `2026-11-28 14:03` on another day. */
export function timeOfDay(ms: number, now: number = Date.now()): string {
  const local = (time: number) => {
    const date = new Date(time)
    const two = (value: number) => String(value).padStart(2, '0')
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
    return {
      day,
      minute: `${two(date.getHours())}:${two(date.getMinutes())}`,
      second: two(date.getSeconds()),
    }
  }
  const { day, minute, second } = local(ms)
  return day === local(now).day ? `${minute}:${second}` : `${day} ${minute}`
}
