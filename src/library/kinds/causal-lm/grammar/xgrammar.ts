import type * as Xgrammar from '@mlc-ai/web-xgrammar'
import { readFile } from 'node:fs/promises'
import nodeModule from 'node:module'
import { compileFunction } from 'node:vm'

/** The library that compiles grammars, and the last thing that it has complained of. */
export interface LoadedXgrammar {
  readonly xgrammar: typeof Xgrammar
  /** Why it gave up: it tells that to the console only. */
  readonly complaint: () => string
}

/**
 * Loads XGrammar's WebAssembly anew. It ends for good with the first grammar that it cannot compile, so a new one is needed after
 * that; matchers of the old one go on.
 *
 * The package is one file of CommonJS that calls itself an ES module, which Node does not load: it is read here as what it is.
 */
export async function loadXgrammar(): Promise<LoadedXgrammar> {
  // Not imported by its name, which the bundled program has for itself.
  const require = nodeModule.createRequire(import.meta.url)
  const file = require.resolve('@mlc-ai/web-xgrammar')
  const text = await readFile(file, 'utf8')
  let complaint = ''
  const console = {
    log: () => {},
    warn: () => {},
    // "[FATAL] FILE:LINE: what is wrong", and then "Aborted()".
    error: (line: unknown) => void (complaint = /^\[FATAL\] \S+ (.*)$/s.exec(String(line))?.[1] ?? complaint),
  }
  const module = { exports: {} as typeof Xgrammar }
  const names = ['exports', 'module', 'require', '__filename', 'console']
  const run = compileFunction(text.replace("await import('module')", 'require("node:module")'), names, {
    filename: file,
  }) as (...values: unknown[]) => void
  run(module.exports, module, require, file, console)
  return { xgrammar: module.exports, complaint: () => complaint }
}
