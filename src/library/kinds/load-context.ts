import type { Load } from '../runtime/library-kind.ts'

/** Loads a context of any kind. Each kind is imported only when it is wanted: an engine's own libraries are large. */
export const loadContext: Load = async (setup) => {
  switch (setup.context.spec.library) {
    case 'causal-lm':
      return (await import('./causal-lm/load-causal-lm.ts')).loadCausalLm(setup, setup.context.spec)
    case 'module':
      return (await import('./module/load-module.ts')).loadModule(setup, setup.context.spec)
    case 'python':
      return (await import('./python/load-python.ts')).loadPython(setup, setup.context.spec)
    case 'server':
      return (await import('./server/load-server.ts')).loadServer(setup, setup.context.spec)
  }
}
