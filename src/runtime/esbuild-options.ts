import type { BuildOptions } from 'esbuild'

/** How programs and modules become single files that run on the nodes: ES modules for the Node that pilots bring along. */
export const forNodes = {
  write: false,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  charset: 'utf8',
  legalComments: 'none',
  // Modules that were CommonJS call `require` for what is built in.
  banner: {
    js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`,
  },
  metafile: true,
  logLevel: 'silent',
} satisfies BuildOptions
