import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { BundleError } from '../../../src/bundle/format/errors.ts'
import { pieceLayoutOf } from '../../../src/bundle/format/piece-layout.ts'
import { bundleIdOf, canonicalJson, parseManifest } from '../../../src/bundle/format/manifest.ts'
import type { Manifest } from '../../../src/protocol/bundle.ts'

const HASH = 'ab'.repeat(32)

const hash = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'))

const file = fc
  .record({
    size: fc.integer({ min: 0, max: 1 << 20 }),
    executable: fc.boolean(),
    pieceSize: fc.constantFrom(1 << 16, 1 << 17, 1 << 20),
    hash,
  })
  .map(({ hash, ...file }) => ({
    ...file,
    pieces: new Array<string>(Math.ceil(file.size / file.pieceSize)).fill(hash),
  }))

const segment = fc.stringMatching(/^[a-z0-9_-]{1,6}$/)

const manifest: fc.Arbitrary<Manifest> = fc
  .uniqueArray(
    fc
      .tuple(fc.array(segment, { maxLength: 2 }), segment)
      // Folders and files never have the same name.
      .map(([folders, name]) => [...folders.map((folder) => `d.${folder}`), name].join('/')),
    { minLength: 1, maxLength: 6 },
  )
  .chain((paths) => fc.tuple(fc.constant(paths.sort()), fc.array(file, { minLength: 6, maxLength: 6 })))
  .map(([paths, files]) => ({
    version: 1,
    kind: 'files',
    files: paths.map((path, index) => ({ path, ...files[index]! })),
  }))

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

/** Parses; undefined if it is refused as it should be. */
function tryParse(bytes: Uint8Array): Manifest | undefined {
  try {
    return parseManifest(bytes)
  } catch (error) {
    assert.ok(error instanceof BundleError, String(error))
    assert.equal(error.code, 'GLEANER_BUNDLE_MANIFEST')
    return undefined
  }
}

/** What the rest of the program takes for granted of a manifest that was not refused. */
function assertSound(accepted: Manifest): void {
  const layout = pieceLayoutOf(accepted)
  const covered = accepted.files.map(() => 0)
  for (let piece = 0; piece < layout.pieces; piece++) {
    const { file, offset, length, sha256 } = layout.place(piece)
    assert.equal(offset, covered[file])
    assert.ok(length > 0)
    assert.match(sha256, /^[0-9a-f]{64}$/)
    covered[file]! += length
  }
  assert.deepEqual(
    covered,
    accepted.files.map(({ size }) => size),
  )
  const paths = accepted.files.map(({ path }) => path)
  assert.equal(new Set(paths).size, paths.length)
  for (const path of paths) {
    assert.ok(!path.startsWith('/') && !path.split('/').some((part) => ['', '.', '..'].includes(part)), path)
  }
}

describe('a manifest from outside', () => {
  test('comes back as it was written, with the same identity, in whatever order its keys are', () => {
    fc.assert(
      fc.property(manifest, (original) => {
        const shuffled = {
          files: original.files.map((file) => Object.fromEntries(Object.entries(file).reverse())),
          kind: original.kind,
          version: original.version,
        }
        const parsed = parseManifest(encode(shuffled))
        assert.deepEqual(parsed, original)
        assert.equal(bundleIdOf(parsed), bundleIdOf(parseManifest(Buffer.from(canonicalJson(original)))))
        assertSound(parsed)
      }),
    )
  })

  test('has another identity as soon as one thing in it is different', () => {
    const changes: ((file: Manifest['files'][number]) => void)[] = [
      (file) => (file.path += 'x'),
      (file) => (file.executable = !file.executable),
      (file) => (file.pieces[0] = HASH),
      (file) => file.size--,
    ]
    for (const change of changes) {
      const original: Manifest = {
        version: 1,
        kind: 'files',
        files: [
          { path: 'a', size: 9, executable: false, pieceSize: 1 << 16, pieces: [HASH.replace('a', 'c')] },
        ],
      }
      const before = bundleIdOf(original)
      change(original.files[0]!)
      assert.notEqual(bundleIdOf(original), before)
    }
  })

  test('is refused, or sound, whatever bytes it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 500 }), fc.json().map(encodeText)), (bytes) => {
        const accepted = tryParse(bytes)
        if (accepted) assertSound(accepted)
      }),
      { numRuns: 1_000 },
    )
  })

  test('is refused, or sound, when bytes of a good one are changed, dropped or doubled', () => {
    const edit = fc.record({
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      remove: fc.integer({ min: 0, max: 20 }),
      insert: fc.uint8Array({ maxLength: 8 }),
    })
    fc.assert(
      fc.property(manifest, fc.array(edit, { minLength: 1, maxLength: 4 }), (original, edits) => {
        let bytes = Buffer.from(encode(original))
        for (const { at, remove, insert } of edits) {
          const start = Math.floor(at * bytes.length)
          bytes = Buffer.concat([bytes.subarray(0, start), insert, bytes.subarray(start + remove)])
        }
        const accepted = tryParse(bytes)
        if (accepted) assertSound(accepted)
      }),
      { numRuns: 1_000 },
    )
  })

  test('is refused, or sound, when values in a good one are replaced', () => {
    const value = fc.oneof(
      fc.constantFrom<unknown>(
        -1,
        0,
        1.5,
        2 ** 53,
        1e300,
        null,
        '',
        '..',
        '../x',
        '/etc/passwd',
        [],
        {},
        true,
      ),
      fc.jsonValue(),
    )
    const key = fc.constantFrom('path', 'size', 'executable', 'pieceSize', 'pieces', '__proto__', 'other')
    fc.assert(
      fc.property(manifest, key, value, (original, key, value) => {
        const files = original.files.map((file) => ({ ...file }))
        Object.defineProperty(files[0]!, key, { value, enumerable: true })
        const accepted = tryParse(encode({ ...original, files }))
        if (accepted) assertSound(accepted)
      }),
      { numRuns: 1_000 },
    )
  })

  const good = { path: 'a', size: 1 << 17, executable: false, pieceSize: 1 << 16, pieces: [HASH, HASH] }
  const lies: Record<string, [change: object, why: RegExp]> = {
    'climbs out': [{ path: '../a' }, /path/],
    'climbs out further in': [{ path: 'b/../../a' }, /path/],
    'is absolute': [{ path: '/a' }, /path/],
    'has a backslash': [{ path: '..\\a' }, /path/],
    'has a control character': [{ path: 'a\n' }, /path/],
    'is larger than its pieces': [{ size: (1 << 17) + 1 }, /2 pieces where its size makes 3/],
    'is smaller than its pieces': [{ size: 1 << 16 }, /2 pieces where its size makes 1/],
    'has tiny pieces': [{ pieceSize: 1 }, /pieceSize/],
    'has a negative size': [{ size: -1 }, /size/],
    'is too large to be true': [{ size: 2 ** 50 }, /size/],
    'has a hash that is none': [{ pieces: [HASH, 'x'.repeat(64)] }, /pieces/],
    'has what no file has': [{ mode: 0o4777 }, /mode/],
  }
  for (const [what, [change, why]] of Object.entries(lies)) {
    test(`is refused when a file in it ${what}`, () => {
      const bytes = encode({ version: 1, kind: 'files', files: [{ ...good, ...change }] })
      assert.throws(() => parseManifest(bytes), { code: 'GLEANER_BUNDLE_MANIFEST', message: why })
    })
  }

  const named = (...paths: string[]) =>
    encode({ version: 1, kind: 'files', files: paths.map((path) => ({ ...good, path })) })
  test('is refused when paths come twice, out of order, or as file and folder', () => {
    for (const paths of [
      ['a', 'a'],
      ['b', 'a'],
      ['a', 'a/b'],
      ['a', 'a-b', 'a/b'],
    ]) {
      assert.throws(
        () => parseManifest(named(...paths)),
        { code: 'GLEANER_BUNDLE_MANIFEST' },
        paths.join(' '),
      )
    }
  })
  test('is refused when it is of no file, or a tarball of two', () => {
    assert.throws(() => parseManifest(named()), { code: 'GLEANER_BUNDLE_MANIFEST' })
    const two = { version: 1, kind: 'tarball', files: [good, { ...good, path: 'b' }] }
    assert.throws(() => parseManifest(encode(two)), { code: 'GLEANER_BUNDLE_MANIFEST', message: /one file/ })
  })
})

function encodeText(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
