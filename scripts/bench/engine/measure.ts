import { join } from 'node:path'
import { claimPrompts, lengthsOf, tokenPrompts } from './workloads.ts'
import type { Measure } from './engine.ts'
import { runGleaner } from './gleaner-engine.ts'
import { runLibrary } from './loaded-library.ts'
import { matrixRate } from './peak-multiplication.ts'
import { SHAPE } from './write-bench-models.ts'
import { runLlama } from './llama-cpp-engine.ts'
import { runTransformers } from './transformers-engine.ts'

/** What an engine did, and how long it took once it was loaded and had answered a little. */
export interface Measured {
  count: number
  seconds: number
}

const [engine = '', workload = '', folder = '', peers = '', threads = '2', claims = '1000', prompts = '48'] =
  process.argv.slice(2)
if (engine === 'matrix') {
  console.log(await matrixRate(SHAPE, Number(threads)))
  process.exit(0)
}
const isClaims = workload === 'claims' || workload === 'shared'
const work = isClaims
  ? await claimPrompts(Number(claims), workload === 'shared')
  : {
      model: join(folder, workload),
      prompts: tokenPrompts(Number(prompts)),
      limits: lengthsOf(Number(prompts)),
      endTokens: [],
    }
const measure: Measure = engine.startsWith('llama')
  ? runLlama(peers, join(folder, `${engine.split('-')[1]}.gguf`))
  : engine === 'transformers'
    ? runTransformers(peers, isClaims ? 64 : 16)
    : engine === 'gleaner' && isClaims
      ? runLibrary
      : runGleaner(engine === 'gleaner-as-exported')
const { seconds, tokens } = await measure({ ...work, threads: Number(threads) })
console.log(JSON.stringify({ count: isClaims ? work.prompts.length : tokens, seconds } satisfies Measured))
process.exit(0)
