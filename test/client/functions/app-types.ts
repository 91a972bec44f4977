/* What the types of an application let through and what they stop: checked by tsc, and run by nobody. */
import type { App, TaskFuture } from '../../../src/client/index.ts'

interface Module {
  load: (path: string, options?: { threads: number }) => Promise<{ model: string }>
  infer: (inputs: string[], seed?: number) => Promise<Map<string, number>>
  embed: (text: string) => Float32Array
  join: (...parts: string[]) => string
  VERSION: string
}

export async function allowed({ infer, embed, join }: App<Module>): Promise<void> {
  const results: Map<string, number> = await infer(['a'], 1)
  const vector: TaskFuture<Float32Array> = embed(join('a', join('b')))
  const chained: TaskFuture<Map<string, number>> = infer(Promise.resolve(['a']))
  const set = infer.with({
    context: ['load', 'path'],
    retries: 2,
    timeLimitMs: 1000,
    priority: 5,
    job: 'name',
  })
  await set.with({ context: ['load', 'path', { threads: 2 }] })(['a'])
  for await (const { input, value, error } of embed.map(['a', 'b'], { window: 3 })) {
    const text: string = input
    // @ts-expect-error there may be no value
    const length: number = value.length
    if (!error) console.log(text, length, value.length)
  }
  console.log(results, vector, chained)
}

export function stopped(app: App<Module>): void {
  // @ts-expect-error it takes a list
  void app.infer('a')
  // @ts-expect-error there is no such function
  void app.missing
  // @ts-expect-error it is no function
  void app.VERSION
  // @ts-expect-error the future is one of a vector, not of a text
  void app.join(app.embed('a'))
  // @ts-expect-error the setup function takes a path
  void app.infer.with({ context: ['load', 5] })
  // @ts-expect-error there is no such setup function
  void app.infer.with({ context: ['start'] })
  // @ts-expect-error it gives vectors
  const text: Promise<string> = app.embed('a')
  // @ts-expect-error items are texts
  void app.embed.map([1, 2])
  void text
}
