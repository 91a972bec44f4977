import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { isAlive } from '../pilot/support/pilot-process.ts'
import { until } from '../support/until.ts'
import { plant, plantContext } from './factory-fixture.ts'

/** Python's own server of files, which also tells its process id. */
const SERVER = `
import http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "pid" in self.path: return self.wfile.write(b'HTTP/1.0 200 OK\\r\\n\\r\\n{"text":%d}' % os.getpid())
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
  '../tasks.jsonl': ['good', 'absent', 'pid']
    .map((name, i) => `{"id":"${name}${i}","name":"${name}"}\n`)
    .join(''),
}

describe('a context that is a server', () => {
  test('is run by pilots, and gone when they are', async () => {
    await using here = await plant()
    await plantContext(here, 'files', FILES)
    await here.start()
    const args = ['tasks.jsonl', '--context', 'files', '--out', 'out.jsonl']
    const { stdout, stderr } = await here.factory('run', ...args)
    assert.match(stdout, /^2 done, 1 failed/, stderr)
    const lines = (await readFile(join(here.folder, 'out.jsonl'), 'utf8')).trim().split('\n')
    const rows = new Map(
      lines.map((line) => JSON.parse(line) as Record<string, string>).map((row) => [row.id, row]),
    )
    assert.equal(rows.get('good0')?.value, 'well')
    assert.match(
      rows.get('absent1')?.error ?? '',
      /^ServerError: GET \/absent\.json was answered with status 404/,
    )
    assert.match(rows.get('absent1')?.log ?? '', /code 404/)
    assert.equal((await here.factory('stop')).code, 0)
    await until(() => !isAlive(Number(rows.get('pid2')?.value)))
  })
})
