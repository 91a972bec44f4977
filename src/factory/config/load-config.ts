import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import type { Document } from 'yaml'
import type { z } from 'zod'
import { type Config, ConfigFile, resolveConfig, siteSchemas } from './config.ts'
import { nearest } from '../../common/nearest-name.ts'
import { ConfigError } from './config-error.ts'
import { renameKeys } from './renamed-keys.ts'

type Tree = { [key: string]: unknown }
type Layer = { path: string; document: Document; lines: LineCounter; tree: Tree; warnings: string[] }

/**
 * The files that make up the configuration, weakest first: the centre's (in `/etc/gleaner`, or where an environment module
 * says), the user's, the state folder's. Any may be missing.
 */
export function configFiles(stateFolder: string, env: NodeJS.ProcessEnv = process.env): string[] {
  const shared = (env['GLEANER_CONFIG_DIRS'] || '/etc/gleaner').split(':').filter(Boolean)
  const user = join(env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config'), 'gleaner')
  return [...shared, user, stateFolder].map((folder) => join(folder, 'factory.yaml'))
}

/**
 * Reads and merges configuration files, later ones over earlier ones key by key; lists are replaced whole.
 * @throws {ConfigError} on the first thing that is wrong.
 */
export function loadConfig(paths: string[]): Config {
  const layers = paths.flatMap((path) => readLayer(path) ?? [])
  const merged = layers.reduce<Tree>((tree, layer) => merge(tree, layer.tree), {})
  const result = ConfigFile.safeParse(merged)
  const warnings = layers.flatMap(({ warnings }) => warnings)
  if (result.success) return resolveConfig(result.data, warnings)
  throw new ConfigError(describe(result.error.issues[0]!, layers, merged))
}

function readLayer(path: string): Layer | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ConfigError(`${path}: cannot be read: ${(error as Error).message}`)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const [error] = document.errors
  if (error) throw new ConfigError(`${path}:${lines.linePos(error.pos[0]).line}: ${error.message}`)
  const tree: unknown = document.toJS() ?? {}
  if (!isTree(tree))
    throw new ConfigError(`${path}: expected keys and values, like the output of "factory init"`)
  const fixed = withPaths(tree, dirname(path))
  const placeOf = (key: string[]) => placeIn({ path, document, lines }, key) ?? path
  try {
    const warnings = renameKeys(fixed).map(({ from, to }) => {
      const place = placeOf(from)
      // So that what is wrong with its value is found by its new name.
      if (document.hasIn(from)) document.setIn(to, document.getIn(from, true))
      return `${place}: ${from.join('.')} is now called ${to.join('.')}`
    })
    return { path, document, lines, tree: fixed, warnings }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new ConfigError(`${placeOf(['manager'])}: ${error.message}`)
  }
}

/** Paths are relative to the file they stand in, wherever the factory is started. */
function withPaths(tree: Tree, folder: string): Tree {
  const fix = (path: unknown) =>
    typeof path === 'string' ? resolve(folder, path.replace(/^~(?=\/|$)/, homedir())) : path
  const copy = structuredClone(tree)
  if (Array.isArray(copy['contexts'])) copy['contexts'] = copy['contexts'].map(fix)
  for (const site of Object.values(isTree(copy['sites']) ? copy['sites'] : {}))
    if (isTree(site)) {
      if (site['template'] !== undefined) site['template'] = fix(site['template'])
      const { transport } = site
      if (isTree(transport) && transport['config'] !== undefined)
        transport['config'] = fix(transport['config'])
    }
  return copy
}

function merge(below: Tree, above: Tree): Tree {
  const merged = { ...below }
  for (const [key, value] of Object.entries(above)) {
    const old = merged[key]
    merged[key] = isTree(old) && isTree(value) ? merge(old, value) : value
  }
  return merged
}

function describe(issue: z.core.$ZodIssue, layers: Layer[], merged: Tree): string {
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  const path = unknown === undefined ? issue.path : [...issue.path, unknown]
  const place = whereIs(path, layers)
  const key = path.join('.')
  const problem = issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined
  if (unknown === undefined) return `${place}: ${key}: ${problem ?? issue.message}`
  const valid = keysAt(issue.path, merged)
  const meant = nearest(unknown, valid)
  return `${place}: unknown key ${key}; ${meant ? `did you mean ${meant}?` : `valid here: ${valid.join(', ')}`}`
}

/** `FILE:LINE` of the strongest layer that sets a path, or the part of it that is set. */
function whereIs(path: PropertyKey[], layers: Layer[]): string {
  for (let length = path.length; length > 0; length--) {
    const part = path.slice(0, length)
    for (const layer of layers.toReversed()) {
      const place = placeIn(layer, part)
      if (place !== undefined) return place
    }
  }
  return layers.at(-1)?.path ?? 'configuration'
}

/** `FILE:LINE` of a path in one layer; undefined if it is not set there. */
function placeIn({ path, document, lines }: Omit<Layer, 'tree' | 'warnings'>, key: PropertyKey[]) {
  if (!document.hasIn(key)) return undefined
  const node = document.getIn(key, true) as { range?: [number, number, number] } | undefined
  return node?.range ? `${path}:${lines.linePos(node.range[0]).line}` : path
}

/** Keys that are valid at a place in the file. */
function keysAt(path: PropertyKey[], merged: Tree): string[] {
  const [section, name] = path
  if (section === 'manager') return Object.keys(ConfigFile.shape.manager.unwrap().shape)
  if (section !== 'sites') return Object.keys(ConfigFile.shape)
  const site = (merged['sites'] as Tree)[String(name)] as Tree
  return Object.keys(siteSchemas[site['kind'] as keyof typeof siteSchemas].shape)
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
