import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Measured } from './engine/measure.ts'
import { matrixWork } from './engine/peak-multiplication.ts'
import { SHAPE, writeBenchModels } from './engine/write-bench-models.ts'
import { lengthsOf, tokenPrompts } from './engine/workloads.ts'

/*
 * How fast answers are computed on this machine's processors: by the causal-lm library, by transformers.js, and by llama.cpp
 * on a GGUF of the same shape. One after the other, each in a process of its own, with the same number of threads.
 *
 *   npm run bench:engine                      all workloads
 *   npm run bench:engine -- --claims 200 --prompts 16
 *
 * (a) claims verified by the example model; (b) the same behind a shared prompt of about 300 tokens; (c) a model in the shape
 * of SmolLM2-135M with random weights: prompts of 60 tokens, 8 to 256 new tokens (geometric), in fp32 and in blocks of four
 * bits. The peers are installed into --peers DIR, once: about a gigabyte.
 */

const { values } = parseArgs({
  options: {
    claims: { type: 'string', default: '1000' },
    prompts: { type: 'string', default: '48' },
    threads: { type: 'string', default: '2' },
    peers: { type: 'string', default: join(tmpdir(), 'gleaner-bench-engine-peers') },
  },
})
const PEERS = ['@huggingface/transformers@4.3', 'node-llama-cpp@3.22']
const MEASURE = fileURLToPath(new URL('engine/measure.ts', import.meta.url))

await installPeers()
const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-engine-'))
try {
  await writeBenchModels(folder)
  const plain = compare('claims', ['gleaner', 'gleaner-as-exported', 'transformers'])
  const shared = compare('shared', ['gleaner', 'gleaner-as-exported', 'transformers'])
  const large = compare('135m', ['gleaner', 'gleaner-as-exported', 'transformers', 'llama-f16', 'llama-q8'])
  const small = compare('135m-int4', ['gleaner'])
  const matrices = measure('matrix', '135m')
  const table = {
    '(a) claims': plain,
    '(b) behind a shared prompt': shared,
    '(c) 135M': large,
    '(c) 135M, int4': small,
  }
  console.table(table)
  const ratio = ({ gleaner, transformers }: Record<string, number>) => round(gleaner! / transformers!)
  console.log(
    JSON.stringify({
      ratio: ratio(plain),
      ratio_shared: ratio(shared),
      ratio_135m: ratio(large),
      tokens_per_s: large['gleaner'],
      tokens_per_s_int4: small['gleaner'],
      share_of_matrix_rate: round(shareOf(large['gleaner']!, Number(matrices))),
      llama_cpp_tokens_per_s: { f16: large['llama-f16'], q8: large['llama-q8'] },
    }),
  )
} finally {
  await rm(folder, { recursive: true })
}

/** Share of what the processors can multiply that the products of a model's own matrices are, at so many new tokens a second. */
function shareOf(tokensPerSecond: number, rate: number): number {
  const lengths = lengthsOf(Number(values.prompts))
  const written = lengths.reduce((sum, length) => sum + length, 0)
  const read = tokenPrompts(lengths.length).reduce((sum, { length }) => sum + length, 0)
  const work = matrixWork(SHAPE, { tokens: read + written, scored: written })
  return work / (written / tokensPerSecond) / rate
}

/** Runs one engine on one workload, in a process of its own. Returns the last line that it prints. */
function measure(engine: string, workload: string): string {
  const { peers, threads, claims, prompts } = values
  const args = [MEASURE, engine, workload, folder, peers, threads, claims, prompts]
  const { stdout, status } = spawnSync(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  })
  if (status !== 0) throw new Error(`${engine} failed at ${workload}`)
  return stdout.trim().split('\n').at(-1)!
}

/** What each engine does of a workload in a second: claims, or new tokens. */
function compare(workload: string, engines: readonly string[]): Record<string, number> {
  const rates = engines.map((engine): [string, number] => {
    const { count, seconds } = JSON.parse(measure(engine, workload)) as Measured
    console.log(`${workload}, ${engine}: ${count} in ${round(seconds)} s`)
    return [engine, round(count / seconds)]
  })
  return Object.fromEntries(rates)
}

async function installPeers(): Promise<void> {
  if (existsSync(join(values.peers, 'node_modules/node-llama-cpp'))) return
  await mkdir(values.peers, { recursive: true })
  const options = ['--prefix', values.peers, '--ignore-scripts', '--no-audit', '--no-fund']
  const { status } = spawnSync('npm', ['install', ...options, ...PEERS], { stdio: 'inherit' })
  if (status !== 0) throw new Error('the engines to compare with could not be installed')
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
