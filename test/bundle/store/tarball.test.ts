import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Header } from 'tar'
import type { HeaderData } from 'tar'
import { GZIP, pack } from '../../../src/bundle/create/pack-tarball.ts'
import { unpack } from '../../../src/bundle/store/unpack-tarball.ts'
import { temporaryFolder, writeTree } from '../support/cluster.ts'

const LIMITS = { bytes: 1 << 20, entries: 100 }
const BLOCK = 512

/** A tar file of these entries, as nobody's packer would write it. */
function archiveOf(entries: (HeaderData & { content?: string })[]): Buffer {
  const blocks = entries.flatMap(({ content = '', ...data }) => {
    const header = Buffer.alloc(BLOCK)
    new Header({ mode: 0o644, type: 'File', size: content.length, ...data }).encode(header)
    const body = Buffer.alloc(Math.ceil(content.length / BLOCK) * BLOCK)
    body.write(content)
    return [header, body]
  })
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)])
}

async function unpackEntries(folder: string, entries: Parameters<typeof archiveOf>[0]): Promise<string> {
  const archive = path.join(folder, 'a.tar')
  const target = path.join(folder, 'in', 'target')
  await writeFile(archive, archiveOf(entries))
  await unpack(archive, target, LIMITS)
  return target
}

describe('an archive', () => {
  test('comes out as it was packed, with links and executable files', async () => {
    await using temporary = await temporaryFolder()
    const source = path.join(temporary.folder, 'source')
    await writeTree(source, { 'lib/a.js': 'a', empty: '' })
    await symlink('lib/a.js', path.join(source, 'link.js'))
    await writeFile(path.join(source, 'run'), '#!/bin/sh\n', { mode: 0o755 })
    const archive = path.join(temporary.folder, 'a.tar.gz')
    await pack(source, archive, GZIP)
    const target = path.join(temporary.folder, 'target')
    const files = await unpack(archive, target, LIMITS)
    assert.deepEqual(
      files.sort(([a], [b]) => (a < b ? -1 : 1)),
      [
        ['empty', 0],
        ['lib/a.js', 1],
        ['run', 10],
      ],
    )
    assert.equal(await readFile(path.join(target, 'link.js'), 'utf8'), 'a')
    assert.ok((await stat(path.join(target, 'run'))).mode & 0o100)
  })

  const refused: Record<string, Parameters<typeof archiveOf>[0]> = {
    'a path that climbs out': [{ path: '../out', content: 'x' }],
    'a path that climbs out further in': [{ path: 'a/../../out', content: 'x' }],
    'an absolute path': [{ path: '/tmp/gleaner-out', content: 'x' }],
    'a device': [{ path: 'disk', type: 'BlockDevice', devmaj: 8, devmin: 0 }],
    'a terminal': [{ path: 'tty', type: 'CharacterDevice', devmaj: 5, devmin: 0 }],
    'a pipe': [{ path: 'pipe', type: 'FIFO' }],
    'a hard link to a file that comes later': [
      { path: 'b', type: 'Link', linkpath: 'a' },
      { path: 'a', content: 'x' },
    ],
    'a hard link to a link': [
      { path: 'a', type: 'SymbolicLink', linkpath: 'b' },
      { path: 'c', type: 'Link', linkpath: 'a' },
    ],
    'a hard link behind links that lead out together': [
      { path: 'x', content: 'x' },
      { path: 'a', type: 'Directory', mode: 0o755 },
      { path: 'a/b', type: 'SymbolicLink', linkpath: '..' },
      { path: 'c', type: 'SymbolicLink', linkpath: 'a/b/..' },
      { path: 'c/out', type: 'Link', linkpath: 'x' },
    ],
    "links to the system's Python that is no virtual environment": [
      { path: 'bin/python', type: 'SymbolicLink', linkpath: '/usr/bin/python3' },
    ],
    'a virtual environment whose Python is none': [
      { path: 'pyvenv.cfg', content: 'x' },
      { path: 'bin/python', type: 'SymbolicLink', linkpath: '/etc/passwd' },
    ],
    "a virtual environment with another link to the system's Python": [
      { path: 'pyvenv.cfg', content: 'x' },
      { path: 'lib/python', type: 'SymbolicLink', linkpath: '/usr/bin/python3' },
    ],
    'a hard link to a file outside': [{ path: 'b', type: 'Link', linkpath: '/etc/passwd' }],
    'a link to an absolute path': [{ path: 'b', type: 'SymbolicLink', linkpath: '/etc/passwd' }],
    'a link that climbs out': [{ path: 'b', type: 'SymbolicLink', linkpath: '../../out' }],
    'a file through a link': [
      { path: 'd', type: 'SymbolicLink', linkpath: '.' },
      { path: 'd/a', content: 'x' },
    ],
    'links that lead out only together': [
      { path: 'a', type: 'Directory', mode: 0o755 },
      { path: 'a/b', type: 'SymbolicLink', linkpath: '..' },
      { path: 'c', type: 'SymbolicLink', linkpath: 'a/b/..' },
    ],
    'a link in the place of a file': [
      { path: 'a', content: 'x' },
      { path: './a', type: 'SymbolicLink', linkpath: 'b' },
    ],
    'a file in the place of a hard link': [
      { path: 'a', content: 'x' },
      { path: 'b', type: 'Link', linkpath: 'a' },
      { path: 'b', content: 'y' },
    ],
    'more bytes than allowed': [{ path: 'a', content: 'x'.repeat(LIMITS.bytes + 1) }],
    'more entries than allowed': Array.from({ length: LIMITS.entries + 1 }, (_, n) => ({ path: `f${n}` })),
  }
  for (const [what, entries] of Object.entries(refused)) {
    test(`with ${what} is refused`, async () => {
      await using temporary = await temporaryFolder()
      await assert.rejects(unpackEntries(temporary.folder, entries), {
        code: 'GLEANER_BUNDLE_UNSAFE_ARCHIVE',
      })
      for (const outside of [path.join(temporary.folder, 'in', 'out'), path.join(temporary.folder, 'out')]) {
        await assert.rejects(stat(outside), { code: 'ENOENT' })
      }
    })
  }

  test('may have hard links to files before them, as packers make of equal files; links to nothing are left out', async () => {
    await using temporary = await temporaryFolder()
    const target = await unpackEntries(temporary.folder, [
      { path: 'share/a', content: 'x' },
      { path: 'more/b', type: 'Link', linkpath: 'share/a' },
      { path: 'c', type: 'SymbolicLink', linkpath: 'more/b' },
      { path: 'gone', type: 'SymbolicLink', linkpath: 'missing' },
      { path: 'round', type: 'SymbolicLink', linkpath: 'round' },
    ])
    assert.equal(await readFile(path.join(target, 'more/b'), 'utf8'), 'x')
    assert.equal(await readFile(path.join(target, 'c'), 'utf8'), 'x')
    assert.deepEqual((await readdir(target)).sort(), ['c', 'more', 'share'])
  })

  test('may have a file twice, as venv-pack makes them: the last one counts', async () => {
    await using temporary = await temporaryFolder()
    const target = await unpackEntries(temporary.folder, [
      { path: 'pyvenv.cfg', content: 'first' },
      { path: './pyvenv.cfg', content: 'last' },
    ])
    assert.equal(await readFile(path.join(target, 'pyvenv.cfg'), 'utf8'), 'last')
  })

  test("that is a virtual environment keeps its links to the system's Python, also to one that is not here", async () => {
    await using temporary = await temporaryFolder()
    const target = await unpackEntries(temporary.folder, [
      { path: 'bin/python', type: 'SymbolicLink', linkpath: 'python3' },
      { path: 'bin/python3', type: 'SymbolicLink', linkpath: '/opt/absent/bin/python3.11' },
      { path: 'pyvenv.cfg', content: 'home = /opt/absent/bin' },
    ])
    assert.equal(await readlink(path.join(target, 'bin/python')), 'python3')
    assert.equal(await readlink(path.join(target, 'bin/python3')), '/opt/absent/bin/python3.11')
  })

  test('that is cut off, or none at all, is refused', async () => {
    await using temporary = await temporaryFolder()
    const archive = path.join(temporary.folder, 'a.tar')
    await mkdir(path.join(temporary.folder, 'target'))
    const whole = archiveOf([{ path: 'a', content: 'x'.repeat(5000) }])
    for (const bytes of [whole.subarray(0, 2000), Buffer.from('this is no archive'.repeat(100))]) {
      await writeFile(archive, bytes)
      await assert.rejects(unpack(archive, path.join(temporary.folder, 'target'), LIMITS), {
        code: 'GLEANER_BUNDLE_UNSAFE_ARCHIVE',
      })
    }
  })

  test('has no power over modes: no set-user-id bits, no folders that cannot be cleared away', async () => {
    await using temporary = await temporaryFolder()
    const target = await unpackEntries(temporary.folder, [
      { path: 'locked', type: 'Directory', mode: 0 },
      { path: 'locked/root', mode: 0o6755, content: 'x' },
    ])
    assert.equal((await stat(path.join(target, 'locked/root'))).mode & 0o7000, 0)
    assert.equal((await stat(path.join(target, 'locked'))).mode & 0o700, 0o700)
  })
})
