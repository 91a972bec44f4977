/**
 * Compiles `src` to `dist`, or to the folder given, for the published package: Node runs TypeScript as it is, but not below
 * node_modules; and browsers take neither that nor packages, so the page of the dashboard is bundled.
 */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import ts from 'typescript'
import { makeWheel, wheelName } from '../src/client/python-wheel.ts'
import { buildPage } from '../src/web/server/build-page.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = resolve(process.argv[2] ?? `${root}dist`)

function compile(): readonly ts.Diagnostic[] {
  const { config, error } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile.bind(ts.sys)) as {
    config: object
    error?: ts.Diagnostic
  }
  if (error) return [error]
  const parsed = ts.parseJsonConfigFileContent({ ...config, include: ['src'] }, ts.sys, root)
  const program = ts.createProgram(parsed.fileNames, {
    ...parsed.options,
    noEmit: false,
    noEmitOnError: true,
    rootDir: `${root}src`,
    outDir: target,
    declaration: true,
    // Node 24 knows `using`; where it is compiled away, imports inside of it keep their `.ts`.
    target: ts.ScriptTarget.ESNext,
  })
  return [...parsed.errors, ...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics]
}

await rm(target, { recursive: true, force: true })
const diagnostics = compile()
if (diagnostics.length > 0) {
  const host: ts.FormatDiagnosticsHost = {
    getCurrentDirectory: () => root,
    getCanonicalFileName: (name) => name,
    getNewLine: () => '\n',
  }
  process.stderr.write(ts.formatDiagnostics(ts.sortAndDeduplicateDiagnostics(diagnostics), host))
  process.exitCode = 1
} else {
  // OpenTelemetry's packages are built in: few need them, and they are many.
  const otlp = `${target}/manager/services/tracing/otlp-export.js`
  await build({
    entryPoints: [otlp],
    outfile: otlp,
    allowOverwrite: true,
    bundle: true,
    minify: true,
    // The target may lie outside of this folder.
    nodePaths: [`${root}node_modules`],
    platform: 'node',
    format: 'esm',
    legalComments: 'inline',
    // Some of what is bundled requires modules of Node.
    banner: {
      js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);",
    },
  })
  const isSource = (path: string) => !path.includes('__pycache__')
  const { version } = JSON.parse(await readFile(`${root}package.json`, 'utf8')) as { version: string }
  await cp(`${root}src/client/python`, `${target}/client/python`, { recursive: true, filter: isSource })
  await writeFile(
    `${target}/client/python/${wheelName(version)}`,
    makeWheel(`${root}src/client/python`, version),
  )
  await mkdir(`${target}/web/page`, { recursive: true })
  for (const [name, bytes] of Object.entries(await buildPage(`${root}src/web/page`)))
    await writeFile(`${target}/web/page/${name}`, bytes)
}
