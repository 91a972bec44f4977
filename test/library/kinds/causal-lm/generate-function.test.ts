import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createGenerate, type Engine } from '../../../../src/library/kinds/causal-lm/generate-function.ts'
import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { argmax } from '../../../../src/library/kinds/causal-lm/answers/sampling.ts'
import type { Answers } from '../../../../src/library/kinds/causal-lm/answers/several-answers.ts'
import { CancelledError } from '../../../../src/common/task-errors.ts'
import type { JsonValue } from '../../../../src/protocol/primitives.ts'
import { GenerateFunction } from '../../../../src/protocol/contexts/context.ts'
import { createRecorder } from '../../support/recording-reporter.ts'
import type { Abilities } from '../../../../src/library/kinds/causal-lm/graph/batching-probe.ts'
import { END, openToy, vocabSize } from './toy-engine.ts'
import { able, createToy, letters, scramble, toyTokenizer } from './toy-model.ts'

/** What the toy answers to one prompt, token by token, with nothing clever about it. */
function greedy(prompt: string, limit: number): number[] {
  const tokens = toyTokenizer.encode(prompt, false)
  const generated: number[] = []
  while (generated.length < limit && generated.at(-1) !== END) {
    generated.push(argmax(scramble([...tokens, ...generated], vocabSize)))
  }
  return generated
}

const text = fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'X'), minLength: 1, maxLength: 30 })
const prompts = fc
  .tuple(
    fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 20 }),
    fc.array(text, { minLength: 1, maxLength: 40 }),
  )
  .map(([start, texts]) => texts.map((one) => start + one))

describe('greedy generation', () => {
  test('gives each prompt the answer it has alone, whatever it shares a batch, padding or a prefix with', async () => {
    const limits = fc.record({
      rows: fc.integer({ min: 1, max: 10 }),
      tokens: fc.integer({ min: 1, max: 300 }),
      cached: fc.integer({ min: 1, max: 2000 }),
    })
    const abilities = fc
      .record({
        prompts: fc.constantFrom('end', 'start', 'equal', 'one'),
        steps: fc.constantFrom('end', 'start', 'together'),
        starts: fc.constantFrom('end', 'equal', 'one', undefined),
        drafts: fc.boolean(),
      })
      .map((all): Abilities => ({ ...all, drafts: all.drafts && all.steps === 'end' }))
    const longAfter = fc.constantFrom(20, 30, Infinity)
    await fc.assert(
      fc.asyncProperty(prompts, limits, abilities, longAfter, async (all, limits, abilities, longAfter) => {
        const answers = await openToy({ limits, abilities, longAfter }).answer(all, { maxNewTokens: 12 })
        answers.forEach((answer, i) => {
          const expected = greedy(all[i]!, 12)
          assert.deepEqual(answer, {
            text: toyTokenizer.decode(expected),
            tokens: { prompt: all[i]!.length, generated: expected.length },
            finish: expected.at(-1) === END ? 'stop' : 'length',
          })
        })
      }),
      { numRuns: 200 },
    )
  })

  test('computes the start that prompts share only once', async () => {
    const { model, answer } = openToy({ limits: { rows: 10, tokens: 1000, cached: 10_000 } })
    const start = 'x'.repeat(50)
    await answer(
      Array.from({ length: 20 }, (_, i) => start + letters[i + 2]! + 'y'),
      { maxNewTokens: 1 },
    )
    assert.deepEqual(model.passes, [
      { rows: 1, width: 50, cached: 0 },
      { rows: 10, width: 2, cached: 50 },
      { rows: 10, width: 2, cached: 50 },
    ])
  })

  test('writes several tokens at a time where answers go on as earlier ones did', async () => {
    const said = [9, 8, 7, 6, 5, 4, 3, END]
    const score = ({ length }: readonly number[]) =>
      Array.from({ length: vocabSize }, (_, token) => (token === said[length - 2] ? 1 : 0))
    const steps = async (drafts: boolean) => {
      const { model, answer } = openToy({ abilities: { ...able, drafts } }, { score })
      const answers = await answer([...letters.slice(2, 34)].map((letter) => `${letter}y`))
      for (const { text } of answers) assert.equal(text, toyTokenizer.decode(said))
      return model.passes.filter(({ cached }) => cached > 0).length
    }
    assert.equal(await steps(false), 4 * 7)
    assert.ok((await steps(true)) <= 7 + 3 * 2)
  })

  test('leaves rows that have ended out of its batch', async () => {
    const lengths = [1, 1, 2, 9]
    const score = (sequence: readonly number[]) => {
      const [first] = sequence as [number]
      const generated = sequence.length - 1
      return Array.from({ length: vocabSize }, (_, token) =>
        token === (generated < lengths[first - 2]! ? 5 : END) ? 1 : 0,
      )
    }
    const { model, answer } = openToy({ abilities: { ...able, drafts: false } }, { score })
    const answers = await answer(['a', 'b', 'c', 'd'])
    assert.deepEqual(
      answers.map(({ text }) => text.length),
      lengths,
    )
    assert.deepEqual(
      model.passes.map(({ rows }) => rows),
      [4, 4, 2, 1, 1, 1, 1, 1, 1, 1],
    )
  })

  test('ends at the last position the model has', async () => {
    const { answer } = openToy(
      { maxPositions: 20, maxPromptTokens: 19 },
      { score: () => Array.from({ length: vocabSize }, (_, t) => t) },
    )
    const [short, long] = await answer(['aaaaa', 'a'.repeat(19)], { maxNewTokens: 100 })
    assert.deepEqual([short?.tokens.generated, long?.tokens.generated], [15, 1])
    assert.equal(short?.finish, 'length')
  })

  test('says how much of a prompt was left out, if that was asked for', async () => {
    const { answer } = openToy({ maxPositions: 20, maxPromptTokens: 19 })
    const generation = { truncate: 'start', maxNewTokens: 5 }
    const [long, short] = await answer(['a'.repeat(50), 'aa'].map((prompt) => ({ prompt, generation })))
    assert.deepEqual([long?.tokens.prompt, long?.tokens.leftOut], [15, 35])
    assert.ok(short && !('leftOut' in short.tokens))
    await assert.rejects(answer(['a'.repeat(50)]), /50 tokens, of which 19 are allowed: .* "truncate"/)
  })

  test('ends before a stop string', async () => {
    const said = toyTokenizer.encode('one two three', false)
    const score = (sequence: readonly number[]) =>
      Array.from({ length: vocabSize }, (_, token) => (token === said[sequence.length - 1] ? 1 : 0))
    const { answer } = openToy({}, { score })
    const [answered] = await answer(['a'], { stop: ['thr', 'xyz'] })
    assert.deepEqual(answered, { text: 'one two ', tokens: { prompt: 1, generated: 11 }, finish: 'stop' })
  })
})

describe('generation with choices', () => {
  test('gives what unconstrained generation gives, whenever that is a choice', async () => {
    const word = fc.string({ unit: fc.constantFrom(...letters.slice(2, 8)), minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(prompts, fc.uniqueArray(word, { minLength: 1, maxLength: 3 }), async (all, others) => {
        const score = (sequence: readonly number[]) =>
          // An end token is never far, so that plain answers are short enough to serve as choices.
          scramble(sequence, vocabSize).map((value, token) =>
            token === END ? value + 0.02 * sequence.length : value,
          )
        const { answer } = openToy({}, { score })
        const free = await answer(all, { maxNewTokens: 40 })
        const said = free.filter(({ finish }) => finish === 'stop').map((one) => one.text.trim())
        const choices = [...new Set([...said.slice(0, 2), ...others])].filter(
          (choice) => choice.trim() !== '',
        )
        const constrained = await answer(all, { maxNewTokens: 40, choices })
        constrained.forEach((one, i) => {
          assert.ok(one.label === null || choices.includes(one.label!))
          if (free[i]!.finish === 'stop' && choices.includes(free[i]!.text.trim())) {
            assert.equal(one.label, free[i]!.text.trim())
            assert.ok(one.tokens.generated <= free[i]!.tokens.generated)
          }
        })
      }),
      { numRuns: 40 },
    )
  })

  test('settles for one token where that decides', async () => {
    const { model, answer } = openToy()
    const answers = await answer(['ab', 'ba', 'X'], { choices: ['yes', 'no'] })
    for (const { text, label, tokens, finish } of answers) {
      assert.ok(label === 'yes' || label === 'no')
      assert.deepEqual(
        { text, finish, generated: tokens.generated <= 3 },
        { text: label, finish: 'stop', generated: true },
      )
    }
    assert.ok(model.passes.length <= 3)
  })

  test('begins no answers again where a first token settles few', async () => {
    const yes = toyTokenizer.encode('yes', false)
    const score = (sequence: readonly number[]) =>
      Array.from({ length: vocabSize }, (_, token) => (token === yes[sequence.length - 1] ? 1 : 0))
    const { model, answer } = openToy({ limits: { rows: 40, tokens: 400, cached: 10_000 } }, { score })
    const answers = await answer(Array<string>(60).fill('a'), { choices: ['yes', 'yet'] })
    assert.ok(answers.every(({ label, tokens }) => label === 'yes' && tokens.generated === 3))
    const starts = model.passes.filter(({ cached }) => cached === 0).map(({ rows }) => rows)
    assert.deepEqual(starts, [40, 20])
  })

  test('begins the few answers again that a first token does not settle, where it settles most', async () => {
    const [no, yes] = ['no', 'yes'].map((word) => toyTokenizer.encode(word, false))
    const [b] = toyTokenizer.encode('b', false)
    const score = (sequence: readonly number[]) => {
      const word = sequence.includes(b as number) ? yes : no
      return Array.from({ length: vocabSize }, (_, token) => (token === word![sequence.length - 1] ? 1 : 0))
    }
    const { model, answer } = openToy({ limits: { rows: 40, tokens: 400, cached: 10_000 } }, { score })
    const prompts = Array.from({ length: 80 }, (_, i) => (i === 79 ? 'b' : 'a'))
    const answers = await answer(prompts, { choices: ['no', 'yes', 'yet'] })
    assert.deepEqual(
      answers.map(({ label }) => label),
      prompts.map((prompt) => (prompt === 'b' ? 'yes' : 'no')),
    )
    const starts = model.passes.filter(({ cached }) => cached === 0).map(({ rows }) => rows)
    assert.deepEqual(starts, [40, 40, 1])
  })

  test('has no label where it comes to none', async () => {
    const space = letters.indexOf(' ')
    const score = () => Array.from({ length: vocabSize }, (_, token) => (token === space ? 1 : 0))
    const { answer } = openToy({}, { score })
    const [answered] = await answer(['a'], { choices: ['yes', 'no'], maxNewTokens: 4 })
    assert.deepEqual(answered, {
      text: '    ',
      label: null,
      tokens: { prompt: 1, generated: 4 },
      finish: 'length',
    })
  })
})

describe('sampled generation', () => {
  const how = { temperature: 0.2, topK: 20, topP: 0.95, seed: 7, maxNewTokens: 10 }

  test('is the same for the same input, whatever it shares a batch with', async () => {
    await fc.assert(
      fc.asyncProperty(prompts, async (all) => {
        const together = await openToy().answer(all, how)
        const apart = await openToy({ limits: { rows: 1, tokens: 1, cached: 10_000 } }).answer(
          all.toReversed(),
          how,
        )
        assert.deepEqual(together, apart.toReversed())
      }),
      { numRuns: 20 },
    )
  })

  test('differs between inputs, seeds, and calls without a seed', async () => {
    const { answer } = openToy()
    const texts = async (options: object) =>
      (await answer(Array<string>(6).fill('same'), options)).map((one) => one.text)
    assert.equal(new Set(await texts(how)).size, 1)
    assert.notDeepEqual(await texts(how), await texts({ ...how, seed: 8 }))
    assert.ok(new Set(await texts({ ...how, seed: undefined })).size > 1)
  })

  test('keeps to the choices', async () => {
    const answers = await openToy().answer(
      Array.from({ length: 40 }, (_, i) => letters[2 + i]!),
      {
        ...how,
        temperature: 3,
        choices: ['yes', 'no', 'yes and no'],
      },
    )
    assert.ok(new Set(answers.map(({ label }) => label)).size > 1)
    for (const { label } of answers) assert.ok(label === null || ['yes', 'no', 'yes and no'].includes(label!))
  })
})

describe('settings of a request', () => {
  const request = (generation: Record<string, JsonValue>) => ({ prompt: 'abc', generation })

  test('override those of the function', async () => {
    const { answer } = openToy()
    const [short, long] = await answer([request({ maxNewTokens: 2 }), request({})], {
      maxNewTokens: 9,
      logitBias: { [END]: -100 },
    })
    assert.deepEqual([short?.tokens.generated, long?.tokens.generated], [2, 9])
  })

  test('that are not known are an error of that call', async () => {
    await assert.rejects(openToy().answer([request({ top_k: 2 })]), /"top_k" is called "topK" here/)
    await assert.rejects(
      openToy().answer([{ prompt: 'abc', temperature: 2 }]),
      /"temperature" beside a prompt/,
    )
  })

  test('give several answers to one prompt, each of its own, and the same ones again', async () => {
    const how = { temperature: 2, seed: 3, n: 5, maxNewTokens: 6 }
    const [value] = await openToy().runAll([request(how)])
    const { answers, tokens } = value as Answers
    assert.equal(answers.length, 5)
    assert.ok(new Set(answers.map(({ text }) => text)).size > 1)
    assert.equal(
      tokens.generated,
      answers.reduce((sum, one) => sum + one.tokens.generated, 0),
    )
    const [first] = await openToy().answer([request({ ...how, n: 1 })])
    assert.deepEqual(answers[0], first, 'the first one is that of a request for one')
    const apart = openToy({ limits: { rows: 1, tokens: 1, cached: 1 } })
    assert.deepEqual((await apart.runAll([request(how)]))[0], value)
  })

  test('give the probabilities of the tokens in the answer', async () => {
    const [answer] = await openToy().answer([
      request({ logprobs: 2, maxNewTokens: 3, logitBias: { [END]: -100 } }),
    ])
    assert.equal(answer?.logprobs?.length, 3)
    const scores = scramble(toyTokenizer.encode('abc', false), vocabSize)
    const total = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0))
    const [first] = answer.logprobs
    const [best, second] = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!)
    assert.deepEqual(
      first?.top.map(({ token }) => token),
      [best, second],
    )
    assert.ok(Math.abs(first.top[0]!.logprob - (scores[best!]! - total)) < 1e-9)
    assert.equal(first?.token === END ? best : first?.token, best)
    assert.equal(first?.text, toyTokenizer.decode([first.token]))
  })
})

describe('a call that is cancelled while it runs', () => {
  test('ends within one step, and the others go on', async () => {
    const stopped = new Set<number>()
    let passes = 0
    const beforePass = () => {
      if (++passes === 3) stopped.add(1)
    }
    const score = () => Array.from({ length: vocabSize }, (_, token) => (token === 5 ? 1 : 0))
    const { engine } = openToy({}, { score, beforePass })
    const reporter = createRecorder(new Set(), stopped)
    await createGenerate(engine, GenerateFunction.parse({ maxNewTokens: 10 }))(
      ['a', 'b', 'c'].map((input, id) => ({ id, input })),
      reporter,
    )
    const cancelled = reporter.outcomes.get(1)
    assert.ok(cancelled && 'error' in cancelled && cancelled.error instanceof CancelledError)
    for (const id of [0, 2]) {
      const outcome = reporter.outcomes.get(id) as { value: Answer }
      assert.equal(outcome.value.tokens.generated, 10)
    }
  })
})

describe('what goes wrong in a batch', () => {
  test('is tried again in halves, and blamed on the call it is tied to', async () => {
    const poison = letters.indexOf('X')
    const beforePass = ({ tokens }: { tokens: ArrayLike<number> }) => {
      if (Array.from(tokens).includes(poison)) throw new Error('out of memory')
    }
    const model = createToy({
      vocabSize,
      beforePass,
      score: () => [1, ...Array<number>(vocabSize - 1).fill(0)],
    })
    const engine: Engine = {
      model,
      tokenizer: toyTokenizer,
      endTokens: new Set([END]),
      generation: {},
      maxPromptTokens: 99,
      maxPositions: 100,
      limits: { rows: 8, tokens: 400, cached: 10_000 },
      longAfter: Infinity,
      abilities: { ...able, starts: undefined },
    }
    const reporter = createRecorder()
    const inputs = ['ab', 'bX', 'ca', 'dd', 'ee']
    await createGenerate(engine, GenerateFunction.parse({}))(
      inputs.map((input, id) => ({ id, input })),
      reporter,
    )
    for (const [id, outcome] of reporter.outcomes) assert.equal('error' in outcome, inputs[id]!.includes('X'))
    assert.equal(reporter.outcomes.size, inputs.length)
  })

  test('is told apart from scores that are no numbers, which concern one call', async () => {
    const score = (sequence: readonly number[]) =>
      Array.from({ length: vocabSize }, () => (sequence[0] === letters.indexOf('X') ? NaN : 1))
    await assert.rejects(openToy({}, { score }).answer(['X']), /no numbers \(NaN\)/)
    assert.equal((await openToy({}, { score }).answer(['a'])).length, 1)
  })
})
