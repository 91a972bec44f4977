import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, open, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Ended } from '../cli/cli.ts'
import { plant, readIds, writeTasks } from './factory-fixture.ts'

const RUN = ['run', 'tasks.jsonl', '--context', 'words', '--out', 'results.jsonl']

/** One line on standard error, after whatever progress was shown. */
function assertOneLine({ code, stderr }: Ended, message: RegExp): void {
  const lines = stderr.split('\n').filter((line) => !/^[█░]+ |^(reading|packing) /.test(line))
  assert.match(lines.join('\n'), /^factory: [^\n]+\n$/)
  assert.match(lines.join('\n'), message)
  assert.ok(code > 0, `exited with ${code}`)
}

describe('one clear line for', () => {
  test('a config key that is misspelt, with the one that was meant', async () => {
    await using here = await plant('sites: { here: { kind: local, cout: 2 } }')
    assertOneLine(
      await here.factory('start'),
      /factory\.yaml:2: unknown key sites\.here\.cout; did you mean count\?/,
    )
  })

  test('a state folder without a configuration', async () => {
    await using here = await plant()
    const { code, stderr } = await here.factory('start', '--state', 'elsewhere')
    assert.equal(code, 2, stderr)
  })

  test('a port that is in use', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    await using here = await plant(`manager: { listen: 127.0.0.1:${port} }\nsites: { here: { kind: local } }`)
    assertOneLine(await here.factory('start'), new RegExp(`127\\.0\\.0\\.1:${port}: the address is in use`))
    server.close()
  })

  test('a second factory on the same state folder, with or without the first one’s endpoint.json', async () => {
    await using here = await plant()
    await here.start()
    assertOneLine(
      await here.factory('start'),
      /a factory is running on .*\/state already \(process \d+.*\[GLEANER_CONFLICT\]/,
    )
    await unlink(join(here.state, 'endpoint.json'))
    assertOneLine(await here.factory('start'), /ledger\.db is in use by another factory/)
  })

  test('a context whose folder is not there', async () => {
    await using here = await plant()
    await rm(join(here.folder, 'words', 'code'), { recursive: true })
    assertOneLine(await here.factory('start'), /context\.yaml: bundles\.code: there is no folder/)
  })

  test('a malformed line and an unknown context; with --skip-invalid the other lines run', async () => {
    await using here = await plant()
    await here.start()
    await writeFile(join(here.folder, 'tasks.jsonl'), '{"id":"a","word":"x"}\n{"id":"b"\n"three"\n')
    assertOneLine(await here.factory(...RUN), /tasks\.jsonl: line 2 is not JSON/)
    assert.equal((await here.status()).jobs.length, 0)
    const unknown = await here.factory(
      'run',
      'tasks.jsonl',
      '--skip-invalid',
      '--context',
      'word',
      '--out',
      'o',
    )
    assertOneLine(unknown, /there is no context word: the factory knows words/)
    await writeFile(join(here.folder, 'tasks.jsonl'), '{"id":"a","word":"x"}\n{"id":"b"\n{"word":"y"}\n')
    const skipped = await here.factory(...RUN, '--skip-invalid')
    assert.equal(skipped.code, 0, skipped.stderr)
    assert.deepEqual((await readIds(join(here.folder, 'results.jsonl'))).sort(), ['3', 'a'])
  })

  test('a bundle that a context is made of, while pilots may come for it', async () => {
    await using here = await plant()
    await here.start()
    const { stdout } = await here.factory('context', 'list', '--json')
    const [words] = JSON.parse(stdout) as { bundles: Record<string, string> }[]
    const id = words!.bundles.code!
    assertOneLine(await here.factory('bundle', 'remove', id), /context words is made of/)
    const { stdout: table } = await here.factory('bundle', 'list')
    const [runtime] = /^runtime-[0-9a-f]+/m.exec(table)!
    assertOneLine(await here.factory('bundle', 'remove', runtime), /pilots of the running factory boot from/)
    await here.factory('stop')
    assert.equal((await here.factory('bundle', 'remove', id)).code, 0)
  })

  test('a context that cannot be set up, and a way on once it is mended', async () => {
    await using here = await plant()
    const code = join(here.folder, 'words', 'code', 'words.js')
    const good = await readFile(code)
    await writeFile(code, 'throw new Error("libwords.so is missing")')
    await writeTasks(join(here.folder, 'tasks.jsonl'), 3)
    await here.start()
    assertOneLine(await here.factory(...RUN), /context "words" cannot be set up: .*libwords\.so is missing/)
    await writeFile(code, good)
    assert.equal((await here.factory('context', 'add', 'words')).code, 0)
    const mended = await here.factory(...RUN)
    assert.equal(mended.code, 0, mended.stderr)
  })
})

const MODEL = fileURLToPath(new URL('../../templates/fact-verification', import.meta.url))

describe('a model folder', () => {
  const damages: [string, RegExp, (model: string) => Promise<void>][] = [
    ['with a file missing', /tokenizer\.json/, (model) => unlink(join(model, 'tokenizer.json'))],
    ['with a file truncated', /model\.onnx/, (model) => truncate(join(model, 'onnx', 'model.onnx'), 100_000)],
  ]
  for (const [what, file, damage] of damages) {
    test(`${what} makes the run end with one line that names the file`, async () => {
      await using here = await plant()
      const folder = join(here.folder, 'damaged')
      await cp(MODEL, folder, { recursive: true })
      await damage(join(folder, 'model'))
      await here.start()
      const added = await here.factory('context', 'add', folder)
      assert.equal(added.code, 0, added.stderr)
      await writeFile(join(here.folder, 'tasks.jsonl'), '{"id":"a","claim":"x","evidence":"y"}\n')
      const run = ['run', 'tasks.jsonl', '--context', 'fact-verification', '--out', 'results.jsonl']
      assertOneLine(await here.factory(...run), file)
    })
  }
})

/** Runs a test on a small disk of its own; only root may make one. */
function testOnSmallDisk(name: string, megabytes: number, run: (disk: string) => Promise<void>): void {
  if (process.getuid?.() !== 0) return
  test(name, async () => {
    await using here = await plant()
    const disk = join(here.folder, 'disk')
    await mkdir(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', disk])
    try {
      await run(disk)
    } finally {
      execFileSync('umount', ['--lazy', disk])
    }
  })
}

/** Takes all the room that is left. */
async function fill(disk: string): Promise<string> {
  const path = join(disk, 'filler')
  const file = await open(path, 'w')
  const block = Buffer.alloc(64 << 10)
  try {
    for (let size = block.length; size > 0;) {
      const written = await file.write(block, 0, size).then(
        ({ bytesWritten }) => bytesWritten,
        () => 0,
      )
      if (written === 0) size = Math.floor(size / 2)
    }
  } finally {
    await file.close()
  }
  return path
}

describe('a full disk', () => {
  testOnSmallDisk('under the output: one line, and the same command goes on', 1, async (disk) => {
    await using here = await plant()
    const output = join(disk, 'results.jsonl')
    await writeTasks(join(here.folder, 'tasks.jsonl'), 2_000, { ms: 1 })
    await here.start()
    const filler = await fill(disk)
    await truncate(filler, (1 << 20) - (64 << 10))
    const run = ['run', 'tasks.jsonl', '--context', 'words', '--out', output]
    assertOneLine(await here.factory(...run), /results\.jsonl: the disk is full/)
    await unlink(filler)
    const again = await here.factory(...run)
    assert.equal(again.code, 0, again.stderr)
    const ids = await readIds(output)
    assert.deepEqual([ids.length, new Set(ids).size], [2_000, 2_000])
  })

  testOnSmallDisk('under the state folder: nothing that was acknowledged is lost', 64, async (disk) => {
    await using here = await plant(undefined, disk)
    await writeTasks(join(here.folder, 'tasks.jsonl'), 2_000, { padding: 'x'.repeat(2_000) })
    await here.start()
    const filler = await fill(disk)
    assertOneLine(await here.factory(...RUN), /disk.* full/)
    await unlink(filler)
    const again = await here.factory(...RUN)
    assert.equal(again.code, 0, again.stderr)
    const ids = await readIds(join(here.folder, 'results.jsonl'))
    assert.deepEqual([ids.length, new Set(ids).size], [2_000, 2_000])
    await here.factory('stop')

    await fill(disk)
    assertOneLine(await here.factory('start'), /disk.* full/)
  })
})
