/*
 * Verifies claims, a JSON object a line: node app.ts MODEL_FOLDER < claims.jsonl
 */
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { connect } from 'gleaner'
import type { Claim } from './model.ts'

const [modelFolder] = process.argv.slice(2)
if (modelFolder === undefined) throw new Error('give the folder of the model')

async function* batches(size: number): AsyncGenerator<Claim[], void, undefined> {
  const batch: Claim[] = []
  for await (const line of createInterface({ input: process.stdin })) {
    batch.push(JSON.parse(line) as Claim)
    if (batch.length === size) yield batch.splice(0)
  }
  if (batch.length > 0) yield batch
}

await using factory = connect()
const { inferModel } = factory.app<typeof import('./model.ts')>('./model.ts', {
  context: ['loadModel'],
  bundles: { model: resolve(modelFolder) },
  job: 'fact-verification',
})
for await (const { input, value, error } of inferModel.map(batches(20), { window: 100 })) {
  if (error) throw error
  input.forEach((claim, i) => console.log(JSON.stringify({ ...claim, answer: value[i] })))
}
