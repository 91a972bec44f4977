/*
 * Keys of factory.yaml that had another name once. The old ones are understood, with a warning that names the new one.
 */

/** Sections of the file, with the new name of each old key. */
const RENAMED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  manager: { lease: 'workerTimeout' },
}

type Section = Record<string, unknown>

/**
 * Gives the old keys of one file their new names, in place.
 *
 * @returns for each key that was renamed, its old and its new path
 * @throws RangeError with a path that has both its old and its new name
 */
export function renameKeys(file: Section): { from: string[]; to: string[] }[] {
  return Object.entries(RENAMED).flatMap(([name, keys]) => {
    const section = file[name]
    if (typeof section !== 'object' || section === null) return []
    return Object.entries(keys).flatMap(([from, to]) =>
      renameKey(section as Section, from, to) ? [{ from: [name, from], to: [name, to] }] : [],
    )
  })
}

function renameKey(section: Section, from: string, to: string): boolean {
  if (!(from in section)) return false
  if (to in section) throw new RangeError(`${from} is the old name of ${to}: remove one of them`)
  section[to] = section[from]
  delete section[from]
  return true
}
