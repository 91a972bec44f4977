import { InferenceSession, Tensor } from 'onnxruntime-node'

/*
 * What a model answers when nothing is clever about it: one sequence, no padding, what it remembers handed from step to
 * step. It shares no code with the engine, which must give the same.
 */

export type Greedy = (prompt: readonly number[], limit: number, end?: number) => Promise<number[]>

/** Opens a graph for {@link Greedy}. State is paired by the names that exports use. */
export async function openGreedy(path: string): Promise<{ greedy: Greedy; close: () => Promise<void> }> {
  const session = await InferenceSession.create(path, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const outputs = new Set(session.outputNames)
  const state = session.inputMetadata
    .map((info) => ({
      ...info,
      out: info.name.replace(/^past_key_values\./, 'present.').replace(/^past/, 'present'),
    }))
    .filter(({ out }) => outputs.has(out))

  const greedy: Greedy = async (prompt, limit, end) => {
    let held = new Map<string, Tensor>()
    let seen = 0
    const step = async (tokens: readonly number[]) => {
      const feeds: Record<string, Tensor> = {}
      for (const { name } of session.inputMetadata) {
        if (name === 'input_ids') feeds[name] = integers(tokens, [1, tokens.length])
        else if (name === 'position_ids')
          feeds[name] = integers(
            tokens.map((_, i) => seen + i),
            [1, tokens.length],
          )
        else if (name === 'attention_mask') {
          feeds[name] = integers(Array<number>(seen + tokens.length).fill(1), [1, seen + tokens.length])
        } else if (name === 'use_cache_branch') feeds[name] = new Tensor('bool', [seen > 0], [1])
        else if (/logits_to_keep/.test(name)) feeds[name] = integers([1], [])
      }
      for (const info of state) feeds[info.name] = held.get(info.out) ?? blank(info)
      const results = await session.run(feeds)
      seen += tokens.length
      held = new Map(state.map(({ out }) => [out, asInput(results[out] as Tensor)]))
      return greatest(results['logits'] as Tensor)
    }
    const answer: number[] = []
    let next = await step(prompt)
    for (;;) {
      answer.push(next)
      if (next === end || answer.length === limit) return answer
      next = await step([next])
    }
  }
  return { greedy, close: () => session.release() }
}

function integers(values: readonly number[], dims: readonly number[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values, BigInt), dims)
}

/** State before the first token: zeros where its size is fixed, no columns where it grows. */
function blank(info: InferenceSession.ValueMetadata): Tensor {
  if (!info.isTensor) throw new Error(`${info.name} is no tensor`)
  const dims = info.shape.map((dim, axis) => (axis === 0 ? 1 : typeof dim === 'number' ? dim : 0))
  const length = dims.reduce((product, dim) => product * dim, 1)
  return info.type === 'float16'
    ? new Tensor('float16', new Uint16Array(length), dims)
    : new Tensor('float32', new Float32Array(length), dims)
}

function asInput(tensor: Tensor): Tensor {
  if (tensor.type !== 'float16') return tensor
  const { buffer, byteOffset, length } = tensor.data as unknown as Float16Array
  const data = new Uint16Array(buffer, byteOffset, length)
  return { type: 'float16', dims: tensor.dims, location: 'cpu', data } as unknown as Tensor
}

/** The likeliest token after the last position. */
function greatest({ data, dims }: Tensor): number {
  const vocabSize = dims.at(-1) as number
  const scores = (data as Float32Array).subarray(data.length - vocabSize)
  let best = 0
  for (let i = 1; i < vocabSize; i++) if ((scores[i] as number) > (scores[best] as number)) best = i
  return best
}
