import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setupFile } from '../../../src/factory/submissions/submission.ts'
import { shellQuote } from '../../../src/factory/submissions/submit-template.ts'

const script = fileURLToPath(new URL('../../../templates/pilot.sh', import.meta.url))

export const TOKEN = 'the-one-time-token-that-nobody-else-may-see'

export type BootOptions = {
  /** The submission's folder; made if missing. */
  folder: string
  /** pilot.env. */
  settings: Record<string, string>
  /** The environment the batch system gives. Default: only a PATH. */
  env?: Record<string, string>
  setup?: string
  shell?: string
}

/** pilot.env of a pilot that finds this archive on its node's own file system. */
export const settingsFor = (cache: string, archive: { path: string; sha256: string }) => ({
  GLEANER_MANAGER: 'http://127.0.0.1:9',
  GLEANER_RUNTIME_SHA256: archive.sha256,
  GLEANER_RUNTIME_FILE: archive.path,
  GLEANER_CACHE: cache,
  GLEANER_GRACE: '10',
  GLEANER_CPUS: '2',
  GLEANER_MEMORY_MB: '1024',
})

/** Starts pilot.sh as a batch system would; `done` gives what it said and how it ended. */
export function bootPilot({ folder, settings, env, setup, shell = '/bin/sh' }: BootOptions) {
  mkdirSync(join(folder, 'tokens'), { recursive: true })
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${shellQuote(value)}\n`)
  writeFileSync(join(folder, 'pilot.env'), lines.join(''))
  writeFileSync(join(folder, 'tokens', 'p7.token'), `${TOKEN}\n`, { mode: 0o600 })
  if (setup !== undefined) writeFileSync(join(folder, 'setup.sh'), setupFile(setup))
  copyFileSync(script, join(folder, 'pilot.sh'))
  const child = spawn(shell, [join(folder, 'pilot.sh'), 'p7'], {
    cwd: folder,
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (chunk) => (output += String(chunk)))
  child.stderr.on('data', (chunk) => (output += String(chunk)))
  const done = once(child, 'close').then(([code]) => ({ code: code as number | null, output }))
  return { child, done }
}

/** The environment a worker was started with, as the stand-in worker prints it. */
export function workerEnvironment(output: string): Record<string, string> {
  const lines = output.matchAll(/^(GLEANER_\w+)=(.*)$/gm)
  return Object.fromEntries([...lines].map((line): [string, string] => [line[1]!, line[2]!]))
}
