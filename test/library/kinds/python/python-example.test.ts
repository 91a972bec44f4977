import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import type { LoadedContext } from '../../../../src/library/runtime/library-kind.ts'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { ContextFile } from '../../../../src/protocol/contexts/context.ts'
import { valuesOf } from '../../support/recording-reporter.ts'
import { toSetup } from '../../support/setup-message.ts'

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const EXAMPLE = file('../../../../templates/fact-verification-python')
const MODEL = file('../../../../templates/fact-verification/model')
const STAND_INS = file('../../support/bundles/stand-ins')

/* With stand-ins for its packages, so it covers the example's own code and not what they or the model do. */
test('the Python example asks its model as it must, and makes labels of what that says', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-example-'))
  let context: LoadedContext | undefined
  try {
    const python = join(folder, 'bin', 'python3')
    await mkdir(join(python, '..'))
    await writeFile(
      python,
      `#!/bin/sh\nexport PYTHONPATH='${STAND_INS}' OMP_NUM_THREADS=2\nexec python3 "$@"\n`,
    )
    await chmod(python, 0o755)
    const {
      name: _,
      bundles: __,
      ...described
    } = ContextFile.parse(parse(await readFile(join(EXAMPLE, 'context.yaml'), 'utf8')))
    const { setup, ...rest } = described as { setup: object }
    const spec = { ...rest, setup: { ...setup, python: { bundle: 'environment', file: 'bin/python3' } } }
    context = await loadContext(
      toSetup(spec as never, { app: join(EXAMPLE, 'app'), model: MODEL, environment: folder }),
    )
    const evidence = 'the grave of Ann is in Helol and not in Serm'
    const claims = ['the grave is in Helol', 'the grave is in Paris', 'nobody knows', 'Ann']
    const labels = ['SUPPORTS', 'REFUTES', 'NOT ENOUGH INFO', 'SUPPORTS']
    assert.deepEqual(
      await valuesOf(
        context,
        'verify',
        claims.map((claim) => ({ claim, evidence })),
      ),
      labels.map((label) => ({ label })),
    )
  } finally {
    await context?.close()
    await rm(folder, { recursive: true, force: true })
  }
})
