import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dryRunText } from '../../../src/cli/views/dry-run-view.ts'

const shown = {
  folder: '/state/submissions/gpu/dry-run',
  command: ['sbatch', 'job.sh'],
  files: [
    { name: 'job.sh', content: '#!/bin/sh\n#SBATCH --time=60\n' },
    { name: 'pilot.sh', content: '#!/bin/sh\n# common\n# to all\n' },
    { name: 'pilot.env', content: 'GLEANER_CPUS=4\n' },
    { name: 'ca.pem', content: '' },
    { name: 'setup.sh', content: 'module load cuda\n' },
  ],
}
const headings = (text: string) => [...text.matchAll(/^==> (?:.*\/)?(\S+) <==$/gm)].map(([, name]) => name)

test('a dry run shows what the settings of a site have made of it first, and what is the same everywhere last and only by its name', () => {
  const text = dryRunText(shown, false)
  assert.deepEqual(headings(text), ['command', 'job.sh', 'pilot.env', 'setup.sh', 'pilot.sh', 'ca.pem'])
  assert.match(text, /\/pilot\.sh <==\n\(3 lines: see --all\)\n/)
  assert.match(text, /\/ca\.pem <==\n\(empty\)$/)
  assert.match(dryRunText(shown, true), /\/pilot\.sh <==\n#!\/bin\/sh\n# common\n# to all\n/)
})
