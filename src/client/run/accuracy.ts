import { limits } from '../../protocol/common.ts'
import { parseExactly, numberText } from '../../protocol/numbers.ts'
import { expectedValue, readTasks } from './input.ts'
import { readFileLines } from '../../common/lines.ts'

/**
 * The share of an input's tasks whose result has the right `label`, from 0 to 1: the value that the task's own field
 * `field` has. A task that failed is wrong.
 */
export async function accuracy(input: string, output: string, field: string): Promise<number> {
  const expected = new Map<string, unknown>()
  for await (const { key, input: task } of readTasks(input)) expected.set(key, expectedValue(task, field))

  let right = 0
  for await (const { bytes, ended } of readFileLines(output, limits.body)) {
    if (!ended) continue
    const { id, label } = parseExactly(bytes.toString()) as { id: unknown; label?: unknown }
    const key = numberText(id) ?? String(id)
    if (label !== undefined && JSON.stringify(label) === JSON.stringify(expected.get(key))) right++
  }
  return right / expected.size
}
