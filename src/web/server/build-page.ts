import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { build } from 'esbuild'

/** What the page consists of. */
export const PAGE_FILES = ['index.html', 'main.js', 'main.css', 'icon.svg'] as const
export type PageFile = (typeof PAGE_FILES)[number]

/**
 * Builds the page from its sources: one script and one style sheet, beside the files that are sent as they are.
 * @param folder the sources
 * @throws what esbuild says of them
 */
export async function buildPage(folder: string): Promise<Record<PageFile, Uint8Array>> {
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'main.tsx')],
    outdir: '/',
    absWorkingDir: folder,
    write: false,
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['chrome116', 'firefox115', 'safari16.4'],
    charset: 'utf8',
    legalComments: 'none',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    logLevel: 'silent',
  })
  const built = Object.fromEntries(outputFiles.map(({ path, contents }) => [basename(path), contents]))
  const asIs = async (name: PageFile) => [name, await readFile(join(folder, name))]
  return {
    ...built,
    ...Object.fromEntries(await Promise.all(['index.html', 'icon.svg'].map((n) => asIs(n as PageFile)))),
  } as Record<PageFile, Uint8Array>
}
