/* Loads the context of a module as nothing but a process would, and says when it is done. */

const { load } = (await import(process.argv[2]!)) as { load: () => Promise<unknown> }
await load()
process.send!('ready')
