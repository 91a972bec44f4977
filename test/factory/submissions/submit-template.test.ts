import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import {
  TemplateError,
  classAdQuote,
  renderTemplate,
  shellPath,
  shellQuote,
} from '../../../src/factory/submissions/submit-template.ts'

let root: string
before(() => void (root = mkdtempSync(join(tmpdir(), 'gleaner-template-'))))
after(() => rmSync(root, { recursive: true }))

const shell = (script: string, env: NodeJS.ProcessEnv = {}) =>
  execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8', env: { PATH: process.env['PATH'], ...env } })

function render(text: string, variables: object) {
  const path = join(root, 'template.sh')
  writeFileSync(path, text)
  return renderTemplate(path, { ...variables })
}

describe('templates', () => {
  test('fill in variables, quoted for where they stand', () => {
    assert.equal(render('#SBATCH -p {{ p | shell }}', { p: 'a b' }), "#SBATCH -p 'a b'")
    assert.equal(render('MY.X = {{ x | classad }}', { x: 'say "hi"' }), 'MY.X = "say \\"hi\\""')
  })

  test('name an unknown variable or filter, even where it is only asked about', () => {
    for (const [text, name] of [
      ['{{ site.quos }}', 'quos'],
      ['{% if site.quos %}x{% endif %}', 'quos'],
      ['{{ site.qos | shel }}', 'shel'],
    ] as const)
      assert.throws(
        () => render(text, { site: { qos: 'x' } }),
        (error: Error) =>
          error instanceof TemplateError &&
          error.message.includes(name) &&
          error.message.includes('template.sh'),
      )
  })

  test('refuse a value whose line break would start another directive', () => {
    assert.throws(() => render('#SBATCH -p {{ p | shell }}', { p: 'a\n#SBATCH -A b' }), TemplateError)
  })
})

const text = fc.string({ unit: 'binary' }).filter((s) => !/[\r\n\0]/.test(s) && s.isWellFormed())

describe('quoting', () => {
  test('makes one word of anything for the shell', () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (words) => {
        const said = shell(`printf '%s\\n' ${words.map(shellQuote).join(' ')}`)
        assert.deepEqual(said.split('\n').slice(0, -1), words)
      }),
      { numRuns: 30 },
    )
  })

  test('of a folder leaves variables for the node, and nothing else', () => {
    const expand = (path: string) => shell(`printf %s ${shellPath(path)}`, { USER: 'me too', HOME: '/h' })
    assert.equal(expand('/scratch/$USER/x'), '/scratch/me too/x')
    assert.equal(expand('~/${USER}'), '/h/me too')
    assert.equal(expand('/a/$(id)`id`"\\$5'), '/a/$(id)`id`"\\$5')
  })

  test('refuses line breaks in ClassAd strings', () => {
    assert.throws(() => classAdQuote('a\nb'), TemplateError)
  })
})
