import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { splitOf } from '../../scripts/generate-claims/names.ts'
import { type Claim, generateClaims, type Split } from '../../scripts/generate-claims.ts'

const script = fileURLToPath(new URL('../../scripts/generate-claims.ts', import.meta.url))
const run = (...args: string[]) => spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' })

const claims = (split: Split, count: number, seed: number): Claim[] => [
  ...generateClaims({ split, count, seed }),
]
/** Parts of names and first words of sentences that are English, not coined. */
const english = new Set(
  `A Academy Affair Athletic Bells Bridge Brothers College Comet Crown Dear Goodbye He House It Lake Letters Mayor
  Medal Motors Mount Museum Peak Prize Queen Return River Road Rovers SS She Steel The United Winter Works`.split(
    /\s+/,
  ),
)

const coined = (claims: Claim[]): Set<string> =>
  new Set(
    claims
      .flatMap(({ claim, evidence }) => `${evidence} ${claim}`.match(/[A-Z]\w*/g) ?? [])
      .filter((word) => !english.has(word)),
  )

test('the same arguments give the same claims', () => {
  assert.deepEqual(claims('held-out', 300, 7), claims('held-out', 300, 7))
  assert.deepEqual(claims('train', 300, 7).slice(0, 100), claims('train', 100, 7))
  assert.notDeepEqual(claims('train', 300, 7), claims('train', 300, 8))
})

test('no name in held-out claims occurs in training claims', () => {
  const train = coined(claims('train', 20_000, 1))
  const heldOut = coined(claims('held-out', 20_000, 1))
  assert.ok(train.size > 10_000 && heldOut.size > 5_000, `${train.size} and ${heldOut.size} coined words`)
  assert.deepEqual(
    [...heldOut].filter((word) => train.has(word)),
    [],
  )
  assert.deepEqual(new Set([...train].map(splitOf)), new Set(['train']))
  assert.deepEqual(new Set([...heldOut].map(splitOf)), new Set(['held-out']))
})

test('three claims share their evidence, and denial says nothing about them', () => {
  const all = claims('held-out', 9_000, 3)
  for (let i = 0; i < all.length; i += 3) {
    const three = all.slice(i, i + 3)
    assert.equal(new Set(three.map(({ evidence }) => evidence)).size, 1)
    assert.equal(new Set(three.map(({ label }) => label)).size, 3)
  }
  const denials = Object.groupBy(
    all.filter(({ claim }) => claim.includes(' not ')),
    ({ label }) => label,
  )
  for (const [label, claims] of Object.entries(Object.groupBy(all, ({ label }) => label))) {
    const share = (denials[label as Claim['label']]?.length ?? 0) / claims.length
    assert.ok(share > 0.12 && share < 0.18, `${label}: ${share} of the claims are denials`)
  }
})

test('a claim never repeats its evidence, and both are whole sentences', () => {
  for (const { claim, evidence } of claims('held-out', 5_000, 5)) {
    assert.ok(!evidence.includes(claim), claim)
    assert.match(claim, /^[A-Z\d][^.{}]+\.$/)
    assert.match(evidence, /^[A-Z\d][^.{}]+\.( [A-Z\d][^.{}]+\.)?$/)
  }
})

test('the command prints one JSON object a line', () => {
  const { status, stdout } = run('--split', 'held-out', '--count', '50', '--seed', '9')
  assert.equal(status, 0)
  const lines = stdout.trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    claims('held-out', 50, 9),
  )
  assert.deepEqual(Object.keys(JSON.parse(lines[0] ?? '') as object).sort(), [
    'claim',
    'evidence',
    'id',
    'label',
  ])
})

test('the claims beside the example are the first that the command makes', () => {
  const example = new URL('../../templates/fact-verification/claims.jsonl', import.meta.url)
  assert.equal(readFileSync(example, 'utf8'), run('--split', 'held-out', '--count', '1000').stdout)
})

for (const [args, complaint] of [
  [['--count', '5'], /--split must be train or held-out/],
  [['--split', 'test', '--count', '5'], /--split must be train or held-out/],
  [['--split', 'train'], /--count must be a whole number/],
  [['--split', 'train', '--count', '1.5'], /--count must be a whole number/],
  [['--split', 'train', '--count', '-5'], /--count/],
  [['--split', 'train', '--count', '5', '--seed', 'x'], /--seed must be a whole number/],
  [['--split', 'train', '--count', '5', '--frobnicate'], /--frobnicate/],
] as const) {
  test(`the command refuses ${args.join(' ')}`, () => {
    const { status, stdout, stderr } = run(...args)
    assert.equal(status, 2)
    assert.equal(stdout, '')
    assert.match(stderr, /^claims: .+\n$/)
    assert.match(stderr, complaint)
  })
}
