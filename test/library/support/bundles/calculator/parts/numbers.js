export function toNumber(input) {
  if (typeof input.n !== 'number') throw new RangeError(`n is ${JSON.stringify(input.n)}, not a number`)
  return input.n
}
