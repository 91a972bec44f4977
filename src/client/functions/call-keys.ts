import { createHash } from 'node:crypto'

/**
 * Names calls by their content and, among those of the same content, by their turn. An application that is started again and
 * makes the same calls, in whatever order, thereby names them the same.
 */
export function createKeys(): (input: string) => string {
  const turns = new Map<string, number>()
  return (input) => {
    const content = createHash('sha256').update(input).digest('base64url').slice(0, 24)
    const turn = (turns.get(content) ?? 0) + 1
    turns.set(content, turn)
    return turn === 1 ? content : `${content}.${turn}`
  }
}
