/*
 * Fact verification as functions of one's own: the model is loaded once in each library, and then answers many calls.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'
import { bundleFolder, loadVariable } from 'gleaner'
import { InferenceSession, Tensor } from 'onnxruntime-node'

export interface Claim {
  evidence: string
  claim: string
}

const LABELS = ['SUPPORTS', 'REFUTES', 'NOT ENOUGH INFO'] as const
export type Label = (typeof LABELS)[number]

interface Model {
  session: InferenceSession
  tokenizer: Tokenizer
  /** Key and value caches of no tokens, which is where each prompt begins. */
  empty: Record<string, Tensor>
}

/** Loads the model from its bundle: onnx/model.onnx, config.json and the tokenizer's files. */
export async function loadModel() {
  const folder = bundleFolder('model')
  const read = async (file: string) => JSON.parse(await readFile(join(folder, file), 'utf8')) as never
  const tokenizer = new Tokenizer(await read('tokenizer.json'), await read('tokenizer_config.json'))
  const session = await InferenceSession.create(join(folder, 'onnx', 'model.onnx'))
  const { num_key_value_heads: heads, head_dim: size }: { num_key_value_heads: number; head_dim: number } =
    await read('config.json')
  const caches = session.inputNames.filter((name) => name.startsWith('past_key_values.'))
  const nothing = new Tensor('float32', new Float32Array(0), [1, heads, 0, size])
  const model: Model = {
    session,
    tokenizer,
    empty: Object.fromEntries(caches.map((name) => [name, nothing])),
  }
  return { model }
}

/** What the evidence says of each claim. */
export async function inferModel(claims: Claim[]): Promise<Label[]> {
  const model = loadVariable<Model>('model')
  const labels: Label[] = []
  for (const claim of claims) labels.push(await verify(model, claim))
  return labels
}

/** The labels begin with different tokens: the likeliest of these tells them apart. */
async function verify({ session, tokenizer, empty }: Model, { evidence, claim }: Claim): Promise<Label> {
  const tokens = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids
  const prompt = tokens(
    `<|im_start|>user\nEvidence: ${evidence}\nClaim: ${claim}<|im_end|>\n<|im_start|>assistant\n`,
  )
  const { logits } = await session.run({
    input_ids: integers(prompt),
    attention_mask: integers(prompt.map(() => 1)),
    position_ids: integers(prompt.map((_, position) => position)),
    ...empty,
  })
  const scores = (logits!.data as Float32Array).slice(-logits!.dims.at(-1)!)
  const score = (label: Label) => scores[tokens(label)[0]!]!
  return [...LABELS].sort((a, b) => score(b) - score(a))[0]!
}

const integers = (values: (number | null | undefined)[]) =>
  new Tensor(
    'int64',
    BigInt64Array.from(values, (value) => BigInt(value ?? 0)),
    [1, values.length],
  )
