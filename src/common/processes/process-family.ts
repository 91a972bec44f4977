import { readdir, readFile } from 'node:fs/promises'

/** A process and its descendants, by their ids. */
export async function familyOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const lists = await Promise.all(threads.map((thread) => childrenOf(pid, thread)))
  const children = lists.flatMap((list) => list.match(/\d+/g) ?? [])
  return [pid, ...(await Promise.all(children.map((child) => familyOf(Number(child))))).flat()]
}

/** Empty for a process that has gone meanwhile. */
function childrenOf(pid: number, thread: string): Promise<string> {
  return readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')
}
