import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  constants,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import {
  faultOf,
  makePrivateFolder,
  openPrivateFile,
  readOwnFile,
  UnsafePathError,
} from '../../src/common/private-path.ts'

let root: string
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'gleaner-private-'))))
afterEach(() => rmSync(root, { recursive: true }))

const modeOf = (path: string) => statSync(path).mode & 0o777
const refused = (message: RegExp) => (error: unknown) =>
  error instanceof UnsafePathError && message.test(error.message)

describe('a step on the way to a private folder', () => {
  const trusted = { users: new Set([0, 1000]), groups: new Set([0, 1000]) }
  const folder = constants.S_IFDIR
  for (const [what, facts, fault] of [
    ['of this user', { uid: 1000, gid: 1000, mode: folder | 0o700 }, undefined],
    ['of root, open for all to read', { uid: 0, gid: 0, mode: folder | 0o755 }, undefined],
    ['of root, writable by all, but sticky', { uid: 0, gid: 0, mode: folder | 0o1777 }, undefined],
    [
      'writable by a group that is this user alone',
      { uid: 1000, gid: 1000, mode: folder | 0o775 },
      undefined,
    ],
    ['that is a link of this user', { uid: 1000, gid: 7, mode: constants.S_IFLNK | 0o777 }, undefined],
    ['of another user', { uid: 1001, gid: 1000, mode: folder | 0o700 }, /another user \(uid 1001\)/],
    ['of another user, sticky', { uid: 1001, gid: 1000, mode: folder | 0o1777 }, /another user/],
    [
      'that is a link of another user',
      { uid: 1001, gid: 7, mode: constants.S_IFLNK | 0o777 },
      /another user/,
    ],
    ['writable by all', { uid: 1000, gid: 1000, mode: folder | 0o777 }, /by all users/],
    [
      'writable by a group with others in it',
      { uid: 0, gid: 100, mode: folder | 0o775 },
      /group \(gid 100\)/,
    ],
    ['that is a sticky file', { uid: 1000, gid: 1000, mode: constants.S_IFREG | 0o1666 }, /by all users/],
  ] as const) {
    test(`${what} is ${fault ? 'refused' : 'taken'}`, () => {
      const found = faultOf(facts, trusted)
      if (fault) assert.match(found ?? '', fault)
      else assert.equal(found, undefined)
    })
  }
})

describe('a private folder', () => {
  test('is made with all it is in, for this user alone, whatever the umask', async () => {
    const umask = process.umask(0)
    try {
      await makePrivateFolder(join(root, 'a', 'b'))
    } finally {
      process.umask(umask)
    }
    assert.deepEqual([modeOf(join(root, 'a')), modeOf(join(root, 'a', 'b'))], [0o700, 0o700])
  })

  test('that others could read, or write to, is theirs no longer', async () => {
    for (const mode of [0o755, 0o777]) {
      const folder = join(root, `was-${mode}`)
      mkdirSync(join(folder, 'inside'), { recursive: true })
      chmodSync(folder, mode)
      await makePrivateFolder(folder)
      assert.equal(modeOf(folder), 0o700)
    }
  })

  test('may be a link of this user’s own', async () => {
    mkdirSync(join(root, 'real'))
    symlinkSync(join(root, 'real'), join(root, 'link'))
    await makePrivateFolder(join(root, 'link') + '/')
  })

  test('is refused below a folder that others may write to, which is named', async () => {
    mkdirSync(join(root, 'open', 'mine'), { recursive: true })
    chmodSync(join(root, 'open'), 0o777)
    const says = refused(/\/open can be written by all users: choose a folder/)
    await assert.rejects(makePrivateFolder(join(root, 'open', 'mine')), says)
    await assert.rejects(makePrivateFolder(join(root, 'open', 'mine', 'deeper')), says)
    symlinkSync(join(root, 'open', 'mine'), join(root, 'link'))
    await assert.rejects(makePrivateFolder(join(root, 'link')), says)
    // All of that is the batch system's when the folder was made for this job.
    await makePrivateFolder(join(root, 'open', 'mine', 'cache'), join(root, 'open', 'mine'))
  })
})

describe('a private file', () => {
  const append = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT

  test('that others could read is theirs no longer', () => {
    const file = join(root, 'log')
    writeFileSync(file, 'before')
    chmodSync(file, 0o644)
    writeFileSync(openPrivateFile(file, append), ' after')
    assert.equal(modeOf(file), 0o600)
    assert.equal(readOwnFile(file), 'before after')
  })

  test('is never reached by a link, nor is a folder or a pipe one', () => {
    writeFileSync(join(root, 'target'), 'untouched')
    symlinkSync(join(root, 'target'), join(root, 'link'))
    symlinkSync(join(root, 'absent'), join(root, 'dangling'))
    execFileSync('mkfifo', [join(root, 'pipe')])
    for (const name of ['link', 'dangling']) {
      assert.throws(() => openPrivateFile(join(root, name), append), refused(/ is a link: /))
    }
    assert.throws(() => readOwnFile(join(root, 'link')), refused(/ is a link: /))
    assert.throws(() => openPrivateFile(join(root, 'pipe'), append), refused(/ is not a plain file/))
    for (const name of ['pipe', '.'])
      assert.throws(() => readOwnFile(join(root, name)), refused(/ is not a plain file/))
    assert.throws(() => statSync(join(root, 'absent')))
    assert.equal(readOwnFile(join(root, 'target')), 'untouched')
  })
})
