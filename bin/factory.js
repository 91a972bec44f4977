#!/usr/bin/env node
// Plain old JavaScript: it must get as far as saying what is wrong on any Node a login node may have.
const [major] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(
    `factory: Node ${process.versions.node} is too old, 24 or newer is needed. ` +
      'Without installing anything on the system: "npm install node@24" in the folder of this package, then "npx factory". ' +
      'If that was done with --ignore-scripts, "npm rebuild node" brings the program itself',
  )
  process.exit(1)
}
const { existsSync } = await import('node:fs')
const { fileURLToPath } = await import('node:url')
// In a checkout the sources run as they are; the published package carries them compiled.
const source = new URL('../src/cli/main.ts', import.meta.url)
const compiled = new URL('../dist/cli/main.js', import.meta.url)
const { main } = await import(existsSync(fileURLToPath(source)) ? source.href : compiled.href)
await main(process.argv)
