import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const REQUIREMENTS = fileURLToPath(new URL('requirements.txt', import.meta.url))
const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/gleaner-python', import.meta.url))
const run = promisify(execFile)

let found: Promise<string | undefined> | undefined

/**
 * The folder in which Python finds the packages that the tests use, or undefined if it has them all anyway. What is
 * missing is installed by pip, once for each interpreter.
 *
 * @throws if pip cannot: the message says what a person has to install
 */
export function findTestPackages(): Promise<string | undefined> {
  found ??= locate()
  return found
}

async function locate(): Promise<string | undefined> {
  const wanted = await readFile(REQUIREMENTS, 'utf8')
  const names = wanted.split('\n').filter((line) => /^\w/.test(line))
  try {
    await run('python3', ['-c', `import ${names.join(', ')}`])
    return undefined
  } catch {
    return install(wanted, names)
  }
}

async function install(wanted: string, names: readonly string[]): Promise<string> {
  const { stdout: version } = await run('python3', ['-c', 'import sys; print(sys.executable, sys.version)'])
  // By this name the package under test knows that they are installed, and not the program's own.
  const folder = join(CACHE, hash('sha256', wanted + version).slice(0, 16), 'site-packages')
  if (existsSync(folder)) return folder
  await mkdir(CACHE, { recursive: true })
  const draft = await mkdtemp(join(CACHE, 'draft-'))
  const target = join(draft, 'site-packages')
  const options = [
    '--quiet',
    '--disable-pip-version-check',
    '--retries',
    '1',
    '--only-binary',
    ':all:',
    '--target',
    target,
  ]
  try {
    await run('python3', ['-m', 'pip', 'install', ...options, '--requirement', REQUIREMENTS])
    // Whole at any time, also for a test that asks just now; two drafts of the same are equal.
    await rename(draft, dirname(folder)).catch((error: unknown) => {
      if (!existsSync(folder)) throw error
    })
    return folder
  } catch (error) {
    throw new Error(
      `python3 lacks one of ${names.join(', ')}, which the tests of the Python package use, and pip cannot install it: ` +
        `python3 -m pip install --requirement ${REQUIREMENTS} (on Debian, apt-get install python3-pip first)`,
      { cause: error },
    )
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}
