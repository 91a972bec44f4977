import type { z } from 'zod'
import type { jsonShapes } from './json-shapes.ts'

type Shapes = typeof jsonShapes

/** The option of commands that can print JSON instead of text. */
export interface JsonOption {
  json?: boolean
}

/** Prints what a command has found out, in the shape that docs/json.md has for it. */
export function printJson<Command extends keyof Shapes>(
  _command: Command,
  value: z.input<Shapes[Command]>,
): void {
  console.log(JSON.stringify(value, null, 2))
}
