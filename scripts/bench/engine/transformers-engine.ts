import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Measure } from './engine.ts'

/** What is used of @huggingface/transformers, which is installed apart. */
interface Transformers {
  AutoModelForCausalLM: {
    from_pretrained(path: string, options: object): Promise<{ generate(options: object): Promise<Sliceable> }>
  }
  AutoTokenizer: { from_pretrained(path: string): Promise<Tokenizer> }
  Tensor: new (type: string, data: BigInt64Array, dims: number[]) => unknown
  env: { allowRemoteModels: boolean; localModelPath: string }
}

interface Sliceable {
  slice(rows: null, columns: [number, null]): unknown
}

interface Tokenizer {
  padding_side: string
  (texts: string[], options: object): { input_ids: Sliceable & { dims: number[] } }
  apply_chat_template(chat: object[], options: object): string
  batch_decode(tokens: unknown, options: object): string[]
}

/** transformers.js: prompts sorted by length, in batches, as its users do it. A batch ends with its longest answer. */
export function runTransformers(peers: string, size: number): Measure {
  return async ({ model: folder, prompts, texts, limits, endTokens, threads }) => {
    const path = join(peers, 'node_modules/@huggingface/transformers/dist/transformers.node.mjs')
    const { AutoModelForCausalLM, AutoTokenizer, Tensor, env } = (await import(
      pathToFileURL(path).href
    )) as Transformers
    env.allowRemoteModels = false
    env.localModelPath = join(folder, '..')
    const model = await AutoModelForCausalLM.from_pretrained(folder.split('/').at(-1)!, {
      dtype: 'fp32',
      device: 'cpu',
      use_external_data_format: folder.endsWith('135m'),
      session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
    })
    const order = [...prompts.keys()].sort(
      (a, b) => prompts[a]!.length - prompts[b]!.length || limits[a]! - limits[b]!,
    )
    const tokenizer = texts && (await AutoTokenizer.from_pretrained(folder.split('/').at(-1)!))
    if (tokenizer) tokenizer.padding_side = 'left'
    const settings = (indices: readonly number[]) => ({
      max_new_tokens: Math.max(...indices.map((i) => limits[i]!)),
      do_sample: false,
      eos_token_id: endTokens.length > 0 ? [...endTokens] : [-1],
    })
    const runTexts = async (tokenizer: Tokenizer, indices: readonly number[]) => {
      const options = { add_generation_prompt: true, tokenize: false }
      const chats = indices.map((i) =>
        tokenizer.apply_chat_template([{ role: 'user', content: texts![i]! }], options),
      )
      const inputs = tokenizer(chats, { padding: true, add_special_tokens: false })
      const width = Math.max(...indices.map((i) => prompts[i]!.length))
      if (inputs.input_ids.dims[1] !== width) throw new Error('the engines were given different prompts')
      const tokens = await model.generate({ ...inputs, ...settings(indices) })
      tokenizer.batch_decode(tokens.slice(null, [width, null]), { skip_special_tokens: true })
    }
    const run = async (indices: readonly number[]) => {
      if (tokenizer) return runTexts(tokenizer, indices)
      const width = Math.max(...indices.map((i) => prompts[i]!.length))
      const ids = new BigInt64Array(indices.length * width)
      const mask = new BigInt64Array(indices.length * width)
      indices.forEach((index, row) => {
        const prompt = prompts[index]!
        const start = (row + 1) * width - prompt.length
        prompt.forEach((token, i) => (ids[start + i] = BigInt(token)))
        mask.fill(1n, start, (row + 1) * width)
      })
      await model.generate({
        inputs: new Tensor('int64', ids, [indices.length, width]),
        attention_mask: new Tensor('int64', mask, [indices.length, width]),
        ...settings(indices),
      })
    }
    await run(order.slice(0, 4))
    const startedAt = performance.now()
    for (let at = 0; at < order.length; at += size) await run(order.slice(at, at + size))
    // What rows are given beyond their own length is nothing that was asked for.
    const tokens = limits.reduce((sum, limit) => sum + limit, 0)
    return { seconds: (performance.now() - startedAt) / 1000, tokens }
  }
}
