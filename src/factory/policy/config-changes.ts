import type { Config, SiteConfig } from '../config/config.ts'

/** What differs between the configuration in force and another one. */
export type ConfigChanges = {
  /** Names of sites that are new, that are gone, and that have other settings. */
  added: string[]
  removed: string[]
  changed: string[]
  /** Each change that can be made while the factory runs, for the user. */
  applies: string[]
  /** Each change that takes a restart. */
  restart: string[]
}

/** Settings whose values may be long, or secret. */
const UNSHOWN = new Set(['setup', 'commandEnvironment', 'extraLines', 'attributes', 'ssh'])
const LONGEST_SHOWN = 40

export function configChanges(before: Config, after: Config): ConfigChanges {
  const old = new Map(before.sites.map((site) => [site.name, site]))
  const now = new Map(after.sites.map((site) => [site.name, site]))
  const added = [...now.keys()].filter((name) => !old.has(name))
  const removed = [...old.keys()].filter((name) => !now.has(name))
  const kept = [...now.values()].filter(({ name }) => old.has(name))
  const differing = kept.map((site) => ({ site, changes: settingChanges(old.get(site.name)!, site) }))
  const changed = differing.filter(({ changes }) => changes.length > 0)
  const contexts = isSame(before.contexts, after.contexts)
    ? []
    : ['contexts: restart, or register one with "factory context add PATH"']
  return {
    added,
    removed,
    changed: changed.map(({ site }) => site.name),
    applies: [
      ...added.map((name) => `site ${name}: new`),
      ...removed.map((name) => `site ${name}: not configured any more, its pilots are told to go`),
      ...changed.map(({ site, changes }) => `site ${site.name}: ${changes.join(', ')}`),
    ],
    restart: [
      ...settingChanges(before.manager, after.manager).map((change) => `manager: ${change}`),
      ...contexts,
      ...(isSame(before.notify, after.notify) ? [] : ['notify']),
    ],
  }
}

function settingChanges(
  before: SiteConfig | Config['manager'],
  after: SiteConfig | Config['manager'],
): string[] {
  const [old, now] = [new Map(Object.entries(before)), new Map(Object.entries(after))]
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter((key) => !isSame(old.get(key), now.get(key)))
    .map((key) => {
      const [from, to] = [shown(key, old.get(key)), shown(key, now.get(key))]
      return from === undefined || to === undefined ? `${key} changed` : `${key} ${from} -> ${to}`
    })
}

function shown(key: string, value: unknown): string | undefined {
  const text = value === undefined ? 'not set' : JSON.stringify(value)
  return UNSHOWN.has(key) || text.length > LONGEST_SHOWN ? undefined : text
}

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
