import { fileURLToPath } from 'node:url'
import type { z } from 'zod'
import type { Setup } from '../../../src/library/runtime/library-kind.ts'
import { LibrarySpec, type ServerFunction } from '../../../src/protocol/contexts/context.ts'

/** The message that has a library load `spec` from the given folders. */
export function toSetup(spec: z.input<typeof LibrarySpec>, bundles: Record<string, string>): Setup {
  const id = '0'.repeat(64)
  return {
    type: 'setup',
    context: {
      id,
      name: 'sample',
      bundles: Object.fromEntries(Object.keys(bundles).map((name) => [name, id])),
      spec: LibrarySpec.parse(spec),
    },
    bundles,
    blobs: '/nowhere',
    threads: 1,
    gpus: { count: 0, memory: 0, hasOthers: false },
    device: 'cpu',
  }
}

const calculator = fileURLToPath(new URL('bundles/calculator', import.meta.url))

/** A context on the module in bundles/calculator; `functions` are exports, called by their own names. */
export function calculatorSetup(functions: Record<string, { batch?: number }>, changes: object = {}): Setup {
  const named = Object.entries(functions).map(([name, how]) => [name, { export: name, ...how }] as const)
  const spec = LibrarySpec.parse({
    library: 'module',
    setup: { bundle: 'app', file: 'calculator.js', call: 'open', args: [100], ...changes },
    functions: Object.fromEntries(named),
  })
  return toSetup(spec, { app: calculator })
}

const python = fileURLToPath(new URL('bundles/python', import.meta.url))

/** The same on the file in bundles/python. */
export function pythonSetup(functions: Record<string, { batch?: number }>, changes: object = {}): Setup {
  const named = Object.entries(functions).map(([name, how]) => [name, { call: name, ...how }] as const)
  const spec = LibrarySpec.parse({
    library: 'python',
    setup: { bundle: 'app', file: 'calculator.py', call: 'open_calculator', args: [100], ...changes },
    functions: Object.fromEntries(named),
  })
  return toSetup(spec, { app: python })
}

const server = fileURLToPath(new URL('bundles/server', import.meta.url))

/** A context on the server in bundles/server. */
export function serverSetup(
  functions: Record<string, z.input<typeof ServerFunction>>,
  changes: object = {},
): Setup {
  const command = [process.execPath, '{{ bundles.app }}/server.js', '{{ port }}']
  const setup = { command, healthy: '/health', startLimit: 20, concurrency: 4, ...changes }
  return toSetup(LibrarySpec.parse({ library: 'server', setup, functions }), { app: server })
}
