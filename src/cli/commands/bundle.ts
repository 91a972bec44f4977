import { existsSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import type { Command } from 'commander'
import { pino } from 'pino'
import { list as listTar } from 'tar'
import { createBundle, isTarName } from '../../bundle/create/create-bundle.ts'
import { isRuntimeName } from '../../runtime/runtime-name.ts'
import { totalBytes } from '../../bundle/format/manifest.ts'
import { openStore, type Store } from '../../bundle/store/store.ts'
import { GleanerError, InputError, NotRunningError } from '../../client/errors.ts'
import { explain, Name } from '../../protocol/primitives.ts'
import { count, plural, size, table } from '../views/format.ts'
import { showBytes } from '../views/progress/byte-progress.ts'
import { exitCodes } from '../exit/exit-codes.ts'
import { printJson, type JsonOption } from '../json-output/print-json.ts'
import { clientFor, stateOf } from '../options/common-options.ts'

export function define(bundle: Command): void {
  bundle
    .command('create')
    .summary('make a bundle of files and folders')
    .description(
      'Makes a bundle of files and folders, and prints its identity. The same content always has the same.',
    )
    .argument('<paths...>', 'files and folders')
    .option('--name <name>', 'make it known by this name')
    .option('--tarball', 'pack one folder into a tar file, or take a tar file, which workers unpack')
    .option('--json', 'print what was made as JSON')
    .action(create)
  bundle.command('list').description('list bundles').option('--json', 'print them as JSON').action(list)
  bundle
    .command('verify')
    .description('read every byte of a bundle and compare it with what it should be')
    .argument('<bundle>', 'name or identity')
    .option('--json', 'print what was found as JSON')
    .action(verify)
  bundle
    .command('remove')
    .description('remove a bundle that is not in use')
    .argument('<bundle>', 'name or identity')
    .option('--json', 'print its identity as JSON')
    .action(remove)
}

/** What a single path is, as far as contexts in Python can run in it. */
async function recogniseEnvironment(paths: string[]): Promise<string | undefined> {
  const [given, ...others] = paths
  if (given === undefined || others.length > 0) return undefined
  const names = new Set<string>()
  let interpreter: string | undefined
  if (isTarName(given)) {
    await listTar({
      file: given,
      onReadEntry({ path, linkpath = '' }) {
        const name = path.replace(/^\.\//, '')
        names.add(name)
        if (/^bin\/python/.test(name) && isAbsolute(linkpath)) interpreter = linkpath
      },
    })
  } else {
    const known = ['bin/python', 'bin/python3', 'bin/conda-unpack', 'pyvenv.cfg', 'conda-meta']
    for (const name of known) if (existsSync(join(given, name))) names.add(name)
  }
  if (!names.has('bin/python') && !names.has('bin/python3')) return undefined
  if (names.has('bin/conda-unpack'))
    return 'a Conda environment by conda-pack: nodes run its conda-unpack once'
  if (names.has('pyvenv.cfg')) {
    const which = interpreter === undefined ? '' : `, ${interpreter}`
    return `a virtual environment: nodes need the Python that it was made with${which}`
  }
  return names.has('conda-meta') ? 'a Conda environment as it stands' : 'a folder with a Python of its own'
}

interface CreateFlags extends JsonOption {
  name?: string
  tarball?: boolean
}

async function create(
  paths: string[],
  { name, tarball, json }: CreateFlags,
  command: Command,
): Promise<void> {
  if (name !== undefined && !Name.safeParse(name).success)
    throw new InputError(`--name ${name}: ${explain(Name.safeParse(name).error!)}`)
  await using store = await storeOf(command)
  const kind = tarball ? 'tarball' : 'files'
  using progress = showBytes(process.stderr)
  if (tarball) progress.update({ done: 0, total: undefined, note: 'packing' })
  const { id, manifest } = await createBundle({
    store,
    paths,
    kind,
    ...(name !== undefined && { name }),
    onProgress: (done, total) => progress.update({ done, total }),
  })
  progress[Symbol.dispose]()
  const recognised = await recogniseEnvironment(paths)
  if (json)
    return printJson('factory bundle create', {
      id,
      ...(name !== undefined && { name }),
      kind,
      files: manifest.files.length,
      bytes: totalBytes(manifest),
      ...(recognised !== undefined && { environment: recognised }),
    })
  if (recognised !== undefined) console.error(`this is ${recognised}`)
  console.log(id)
}

async function list({ json }: { json?: boolean }, command: Command): Promise<void> {
  await using store = await storeOf(command)
  const names = new Map([...(await store.names())].map(([name, id]) => [id, name]))
  const bundles = (await store.list()).map((bundle) => ({ name: names.get(bundle.id), ...bundle }))
  if (json) return console.log(JSON.stringify(bundles, null, 2))
  const text = table(bundles, [
    ['BUNDLE', ({ name = '' }) => name],
    ['ID', ({ id }) => id.slice(0, 12)],
    ['KIND', ({ kind }) => kind],
    ['FILES', ({ files }) => count(files)],
    ['SIZE', ({ bytes }) => size(bytes)],
    ['COMPLETE', ({ complete }) => (complete ? 'yes' : 'no')],
  ])
  console.log(text)
}

async function verify(wanted: string, { json }: JsonOption, command: Command): Promise<void> {
  await using store = await storeOf(command)
  const id = await resolveBundle(store, wanted)
  const damage = await store.verify(id)
  if (json) {
    printJson('factory bundle verify', { id, intact: damage.length === 0, damage })
    if (damage.length > 0) process.exitCode = exitCodes.failed
    return
  }
  if (damage.length === 0) return console.log(`${id} is as it should be`)
  const files = damage.map(({ path, badPieces }) => `${path} (${plural(badPieces, 'piece')})`).join(', ')
  throw new GleanerError(`${id} is damaged: ${files}; make it again from its sources`)
}

async function remove(wanted: string, { json }: JsonOption, command: Command): Promise<void> {
  await using store = await storeOf(command)
  const id = await resolveBundle(store, wanted)
  await refuseNeeded(id, await store.names(), command)
  await store.remove(id)
  if (json) return printJson('factory bundle remove', { id })
  console.log(`removed ${id}`)
}

/** Pilots of a running factory come for what its contexts are made of, and for what they boot. */
async function refuseNeeded(id: string, names: Map<string, string>, command: Command): Promise<void> {
  await using client = clientFor(command, { patienceMs: 0 })
  const contexts = await client.contexts().catch((error: unknown) => {
    if (error instanceof NotRunningError) return undefined
    throw error
  })
  if (!contexts) return
  const context = contexts.find(({ bundles }) => Object.values(bundles).includes(id))
  if (context) throw new InputError(`context ${context.name} is made of ${id}: stop the factory first`)
  const boots = [...names].some(([name, named]) => named === id && isRuntimeName(name))
  if (boots) throw new InputError(`pilots of the running factory boot from ${id}: stop it first`)
}

function storeOf(command: Command): Promise<Store> {
  return openStore({
    folder: join(stateOf(command), 'store'),
    log: pino({ level: 'warn' }, pino.destination(2)),
  })
}

/** A bundle by its name, its identity or the beginning of it. */
async function resolveBundle(store: Store, wanted: string): Promise<string> {
  const named = (await store.names()).get(wanted)
  if (named !== undefined) return named
  const found = (await store.list()).filter(({ id }) => id.startsWith(wanted))
  const [only] = found
  if (!only) throw new InputError(`there is no bundle ${wanted}: "factory bundle list" lists them`)
  if (found.length > 1)
    throw new InputError(`${plural(found.length, 'bundle')} begin with ${wanted}: give more of it`)
  return only.id
}
