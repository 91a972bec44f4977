import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { columnWidths, cut, pad, textWidth } from '../../../src/cli/views/text-width.ts'

const anyText = fc.string({
  unit: fc.constantFrom('a', ' ', 'é', 'e\u0301', '漢', 'ｱ', '👩‍💻', '…'),
  maxLength: 30,
})

test('text is measured in the columns that a terminal gives it', () => {
  const widths = { abc: 3, 漢字: 4, ｱｲ: 2, ＡＢ: 4, 'e\u0301': 1, '👩‍💻': 2, 한글: 4, naïve: 5 }
  for (const [text, width] of Object.entries(widths)) assert.equal(textWidth(text), width, text)
})

test('text that is too long ends with an ellipsis, and never takes more than it may', () => {
  assert.equal(cut('fact-verification', 8), 'fact-ve…')
  assert.equal(cut('漢字漢字', 6), '漢字…')
  fc.assert(
    fc.property(anyText, fc.nat(20), (text, width) => {
      const shown = cut(text, width)
      assert.ok(textWidth(shown) <= width)
      if (textWidth(text) <= width) assert.equal(shown, text)
      else if (width > 0) assert.ok(shown.endsWith('…'))
      assert.ok(textWidth(pad(shown, 25)) === 25)
    }),
  )
})

test('columns fit where they can: the widest give way, and none becomes unreadable for it', () => {
  assert.deepEqual(columnWidths([3, 40, 17, 5], 50), [3, 25, 17, 5])
  assert.deepEqual(columnWidths([3, 40, 17, 5], 40), [3, 16, 16, 5])
  fc.assert(
    fc.property(fc.array(fc.nat(100), { minLength: 1, maxLength: 9 }), fc.nat(200), (natural, room) => {
      const widths = columnWidths(natural, room)
      const total = widths.reduce((sum, width) => sum + width, 0)
      for (const [i, width] of widths.entries())
        assert.ok(width <= natural[i]! && width >= Math.min(8, natural[i]!))
      assert.ok(total <= room || widths.every((width) => width <= 8))
      const all = natural.reduce((sum, width) => sum + width, 0)
      if (all <= room) assert.deepEqual(widths, natural)
    }),
  )
})
