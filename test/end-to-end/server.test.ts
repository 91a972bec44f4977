import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { isThere } from '../library/process.ts'
import { until } from '../support/until.ts'
import { plant } from './plant.ts'

/** Python's own server of files, with one that is answered slowly. */
const SERVER = `
import http.server, os, sys, time
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "pid" in self.path: return self.wfile.write(b'HTTP/1.0 200 OK\\r\\n\\r\\n{"text":%d}' % os.getpid())
        if "hang" in self.path: time.sleep(600)
        if "crash" in self.path: os._exit(9)
        super().do_GET()
os.chdir(sys.argv[2])
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`
const FILES = {
  'context.yaml': `
name: files
library: server
bundles: { app: app, data: data }
setup:
  command: [python3, '{{ bundles.app }}/server.py', '{{ port }}', '{{ bundles.data }}']
  healthy: /
  concurrency: 4
functions:
  read: { method: GET, path: '/{{ name }}.json', result: '{{ text }}' }
`,
  'app/server.py': SERVER,
  'data/good.json': '{"text":"well"}',
  '../tasks.jsonl': ['good', 'absent', 'hang', 'crash', 'good', 'pid']
    .map((name, i) => `{"id":"${name}${i}","name":"${name}"}\n`)
    .join(''),
}

describe('a context that is a server', () => {
  test('is run by pilots, started again when it hangs or dies, and gone when they are', async () => {
    await using here = await plant()
    for (const [name, text] of Object.entries(FILES)) {
      await mkdir(join(here.folder, 'files', name, '..'), { recursive: true })
      await writeFile(join(here.folder, 'files', name), text)
    }
    const config = `contexts: [${join(here.folder, 'files')}]\nsites: { here: { kind: local, count: 1 } }\n`
    await writeFile(join(here.state, 'factory.yaml'), config)
    await here.start()
    const args = ['tasks.jsonl', '--context', 'files', '--out', 'out.jsonl', '--time-limit', '1']
    const { stdout, stderr } = await here.factory('run', ...args)
    assert.match(stdout, /^3 done, 3 failed/, stderr)
    const lines = (await readFile(join(here.folder, 'out.jsonl'), 'utf8')).trim().split('\n')
    const rows = new Map(
      lines.map((line) => JSON.parse(line) as Record<string, string>).map((row) => [row.id, row]),
    )
    assert.equal(rows.get('good4')?.value, 'well')
    assert.match(
      rows.get('absent1')?.error ?? '',
      /^ServerError: GET \/absent\.json was answered with status 404/,
    )
    assert.match(rows.get('absent1')?.log ?? '', /code 404/)
    assert.match(rows.get('hang2')?.error ?? '', /^TimeLimit: still running after 1000 ms/)
    assert.match(rows.get('crash3')?.error ?? '', /^LibraryCrash: its library exited with code 9/)
    assert.equal((await here.factory('stop')).code, 0)
    await until(async () => !(await isThere(Number(rows.get('pid5')?.value))))
  })
})
