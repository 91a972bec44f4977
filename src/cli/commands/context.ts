import { mkdir, realpath, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import { GleanerError, InputError } from '../../client/errors.ts'
import type { Client } from '../../client/index.ts'
import { count, table } from '../views/format.ts'
import { addContext } from '../contexts/add-context.ts'
import {
  addModelOptions,
  contextFor,
  recognise,
  toYaml,
  type ModelOptions,
} from '../contexts/model-context.ts'
import { onInterrupt } from '../exit/interrupt.ts'
import { clientFor } from '../options/common-options.ts'
import { printJson, type JsonOption } from '../json-output/print-json.ts'
import { showBytes } from '../views/progress/byte-progress.ts'
import { warmthOf } from '../views/progress/context-fetch-progress.ts'

/** How often the workers are looked at, milliseconds. */
const LOOK_MS = 500

export function define(context: Command): void {
  context
    .command('add')
    .summary('add a context, or a new version of one')
    .description(
      'Adds the context that a context.yaml describes, and packs its bundles. Waits until that is done.',
    )
    .argument('<path>', 'a context.yaml, or the folder that holds it')
    .option('--json', 'print the context as JSON')
    .action(async (path: string, { json }: JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const added = await addContext(client, resolve(path))
      if (json) return printJson('factory context add', added)
      const { name, id } = added
      console.log(`${name} ${id}`)
    })
  addModelOptions(
    context
      .command('create')
      .summary('write a context.yaml for a model folder')
      .description(
        'Looks at a folder with a model, says what it is, and writes a context.yaml for it: ONNX exports run in the built-in engine, ' +
          'safetensors in vLLM, GGUF files in llama-server. The file is yours to change; "factory context add" registers it.',
      )
      .argument('<name>', "the context's name")
      .requiredOption('--model <folder>', 'a model folder, or a GGUF file'),
  )
    .option('--out <file>', 'where it goes (default: NAME/context.yaml)')
    .option('--force', 'overwrite a file that is there')
    .action(create)
  context
    .command('warm')
    .summary("bring a context's files to the workers ahead")
    .description(
      "Has every worker that has nothing else to fetch bring the context's files to its disk, now and as workers come, until " +
        'it is dropped or the factory stops.',
    )
    .argument('<name>', 'a context')
    .option('--wait', 'wait until all workers that are there have them')
    .option('--json', 'print the context as JSON')
    .action(warm)
  context
    .command('drop')
    .summary('let go of a context everywhere')
    .description(
      'Has every worker let go of the context, in memory and on disk, and the factory forget its name. "factory context add" has it ' +
        'back.',
    )
    .argument('<name>', 'a context')
    .option('--cancel', 'cancel the jobs that need it, instead of refusing')
    .option('--json', 'print the context as JSON')
    .action(async (name: string, { json, cancel }: JsonOption & { cancel?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      if (cancel) await cancelJobs(client, name)
      const dropped = await client.dropContext(name)
      if (json) return printJson('factory context drop', dropped)
      console.log(`${name} is let go of by all workers`)
    })
  context
    .command('list')
    .description('list the contexts the factory knows')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const contexts = await client.contexts()
      if (json) return console.log(JSON.stringify(contexts, null, 2))
      const text = table(contexts, [
        ['CONTEXT', ({ name }) => name],
        ['LIBRARY', ({ spec }) => spec.library],
        ['FUNCTIONS', ({ spec }) => Object.keys(spec.functions).join(', ')],
        ['ID', ({ id }) => id.slice(0, 12)],
      ])
      console.log(text)
    })
}

async function warm(
  name: string,
  { wait, json }: { wait?: boolean } & JsonOption,
  command: Command,
): Promise<void> {
  await using client = clientFor(command, { patienceMs: 0 })
  const context = await client.warmContext(name)
  if (wait) await untilWarm(client, name)
  if (json) return printJson('factory context warm', context)
  console.log(
    wait
      ? `${name} is on the disks of all workers that are there`
      : `${name} is fetched ahead by workers with nothing else to fetch`,
  )
}

/** Shows how far the workers are with a context's files. It goes on also when this is interrupted. */
async function untilWarm(client: Client, name: string): Promise<void> {
  using interrupted = onInterrupt()
  using progress = showBytes(process.stderr)
  for (;;) {
    const warmth = warmthOf(await client.status({ signal: interrupted }), name)
    progress.update(warmth)
    if (warmth.failed !== undefined) throw new GleanerError(warmth.failed)
    if (warmth.isWarm) return
    await delay(LOOK_MS, undefined, { signal: interrupted }).catch(() => interrupted.throwIfAborted())
  }
}

async function create(
  name: string,
  options: ModelOptions & { out?: string; force?: boolean },
): Promise<void> {
  const file = options.out ?? join(name, 'context.yaml')
  const model = await recognise(options)
  const folder = dirname(resolve(file))
  contextFor(model, options, { name })
  await mkdir(folder, { recursive: true })
  const context = contextFor(model, options, { name, from: await realpath(folder) })
  const flag = options.force ? 'w' : 'wx'
  await writeFile(file, toYaml(model, context), { flag }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    throw new InputError(`${file} is there already: choose another --out, or overwrite it with --force`)
  })
  for (const reason of model.reasons) console.log(reason)
  for (const warning of model.warnings) console.error(warning)
  console.log(`${file} describes it; its functions: ${Object.keys(context.functions).join(', ')}`)
  console.log(`"factory context add ${file}" registers it`)
}

/** Cancels what still needs a context, and says so. */
async function cancelJobs(client: Client, name: string): Promise<void> {
  const context = (await client.contexts()).find((each) => each.name === name)
  const needing = (await client.jobs()).filter(
    ({ state, contextId }) => state === 'open' && contextId === context?.id,
  )
  for (const { id } of needing) {
    const { done, failed, tasks } = await client.job(id).cancel()
    console.error(`job ${id} is cancelled: ${count(done + failed)} of ${count(tasks)} tasks have results`)
  }
}
