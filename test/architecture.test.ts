import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+\.ts)'/g

/** The files of our own that each file imports, types included. */
function importsOf(patterns: string[]): Map<string, string[]> {
  const files = patterns.flatMap((pattern) => globSync(pattern, { cwd: ROOT }))
  const targets = (file: string) =>
    [...readFileSync(path.join(ROOT, file), 'utf8').matchAll(IMPORT)]
      .map(([, specifier]) => path.join(path.dirname(file), specifier!))
      .filter((target) => existsSync(path.join(ROOT, target)))
  return new Map(files.map((file) => [file, targets(file)]))
}

/** One circle of imports, if there is any: each file imports the next, the last one the first. */
function findCircle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>()
  const visit = (file: string, trail: string[]): string[] | undefined => {
    if (trail.includes(file)) return trail.slice(trail.indexOf(file))
    if (done.has(file)) return undefined
    for (const target of graph.get(file) ?? []) {
      const circle = visit(target, [...trail, file])
      if (circle) return circle
    }
    done.add(file)
    return undefined
  }
  for (const file of graph.keys()) {
    const circle = visit(file, [])
    if (circle) return circle
  }
  return undefined
}

describe('the structure of the sources', () => {
  test('a circle of imports is found where there is one', () => {
    assert.deepEqual(findCircle(new Map([['a', ['b']], ['b', ['c']], ['c', ['b']]])), ['b', 'c']) // prettier-ignore
  })

  test('no files of the product or of its scripts import each other in a circle, types included', () => {
    const graph = importsOf(['src/**/*.ts', 'scripts/**/*.ts'])
    assert.ok(graph.size > 200)
    assert.deepEqual(findCircle(graph), undefined)
  })
})
