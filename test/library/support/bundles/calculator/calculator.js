/* A user's module, as tests call it. */
import console from 'node:console'
import process from 'node:process'
import { setImmediate, setTimeout } from 'node:timers'
import { toNumber } from './parts/numbers.js'

export async function open(base, loud = false) {
  if (typeof base !== 'number') throw new TypeError(`a calculator needs a number to start from, not ${base}`)
  if (loud) console.log(`opened at ${base}`)
  const state = {
    base,
    batches: [],
    [Symbol.asyncDispose]: async () => {
      state.disposed = true
      if (loud) console.log('closed')
    },
  }
  return state
}

export const add = (input, { base }) => base + toNumber(input)

export async function addLater(input, context) {
  await new Promise((resolve) => setTimeout(resolve, 1))
  return add(input, context)
}

export function addAll(inputs, { base, batches }) {
  batches.push(inputs.length)
  return inputs.map((input) => base + toNumber(input))
}

export const echo = (input) => input
export const peek = (_input, context) => context
export const none = () => undefined
export const tooFew = (inputs) => inputs.slice(1)
export const circular = () => {
  const ring = {}
  ring.ring = ring
  return ring
}
export const large = ({ bytes }) => 'x'.repeat(bytes)
export const throwText = () => {
  throw 'just text'
}
export async function say({ lines, fail }) {
  for (const line of lines) {
    console.log(line)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  console.error('that is all')
  if (fail) throw new Error('no more to say')
  return lines.length
}
export const sayAll = (inputs) => inputs.map(({ text }) => (console.log(text), text))
export const warn = ({ text }) => console.error(text)
export const exit = ({ code }) => process.exit(code)
export const failLater = () => {
  setImmediate(() => Promise.reject(new Error('left behind')))
  return new Promise(() => {})
}
export const hang = () => new Promise(() => {})

export const version = 7
