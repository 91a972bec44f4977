import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Measure } from './engine.ts'

/** What is used of node-llama-cpp, which is installed apart. */
interface LlamaCpp {
  getLlama: (options: object) => Promise<{ loadModel(options: object): Promise<LlamaModel> }>
}
interface LlamaModel {
  createContext(options: object): Promise<{ getSequence(): Sequence }>
}
interface Sequence {
  evaluate(tokens: readonly number[], options: object): AsyncIterable<number>
  clearHistory(): Promise<void>
}

const SEQUENCES = 8

/** llama.cpp: eight sequences at once, which take up the next prompt as soon as an answer has ended. */
export function runLlama(peers: string, path: string): Measure {
  return async ({ prompts, limits, threads }) => {
    const entry = join(peers, 'node_modules/node-llama-cpp/dist/index.js')
    const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaCpp
    const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' })
    const model = await llama.loadModel({ modelPath: path })
    const context = await model.createContext({
      sequences: SEQUENCES,
      contextSize: 512,
      batchSize: 512,
      threads,
    })
    const sequences = Array.from({ length: SEQUENCES }, () => context.getSequence())
    let tokens = 0
    let next = 0
    const work = async (sequence: Sequence) => {
      for (let index = next++; index < prompts.length; index = next++) {
        await sequence.clearHistory()
        let left = limits[index]!
        for await (const token of sequence.evaluate(prompts[index]!, {
          temperature: 0,
          yieldEogToken: true,
        })) {
          if (token < 0) break
          tokens += 1
          left -= 1
          if (left === 0) break
        }
      }
    }
    const startedAt = performance.now()
    await Promise.all(sequences.map(work))
    return { seconds: (performance.now() - startedAt) / 1000, tokens }
  }
}
