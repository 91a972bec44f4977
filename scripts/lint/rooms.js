/**
 * Two lint rules about the rooms of `src/`: which room may import which, and what a guarded room (decisions) may touch.
 *
 * Both look at where an import leads, not at its text: `../library/` is a different place from every folder.
 */
import path from 'node:path'

/** Rooms that each room may import. Arrows point one way; types count like everything else. */
const ARROWS = {
  protocol: [],
  common: ['protocol'],
  core: ['protocol', 'common'],
  blobs: ['protocol'],
  bundle: ['protocol', 'common'],
  runtime: ['bundle', 'protocol', 'common'],
  relay: ['bundle', 'protocol', 'common'],
  library: ['blobs', 'protocol', 'common'],
  pilot: ['bundle', 'blobs', 'protocol', 'common'],
  client: ['blobs', 'runtime', 'protocol', 'common'],
  manager: ['core', 'bundle', 'blobs', 'protocol', 'common'],
  factory: ['core', 'bundle', 'protocol', 'common'],
  openai: ['manager', 'core', 'bundle', 'blobs', 'protocol', 'common'],
  web: ['manager', 'core', 'bundle', 'blobs', 'protocol', 'common'],
  report: ['protocol', 'common'],
  doctor: ['manager', 'factory', 'client', 'runtime', 'core', 'bundle', 'protocol', 'common'],
  cli: [
    'relay',
    'manager',
    'factory',
    'openai',
    'web',
    'report',
    'doctor',
    'client',
    'library',
    'runtime',
    'core',
    'bundle',
    'blobs',
    'protocol',
    'common',
  ],
}

/** Inner rooms that only their own room may enter: what others need of them stands in the file beside. */
const CLOSED = ['core/scheduler/']

/** The path of a file below `src/`, with slashes; undefined for a file outside of it. */
function inSource(file) {
  const relative = path.relative(path.resolve(import.meta.dirname, '../../src'), file)
  return relative.startsWith('..') ? undefined : relative.split(path.sep).join('/')
}

/** Whether decisions live there: plain functions over plain data. */
const isGuarded = (file) =>
  file.startsWith('core/') || file.startsWith('common/plain/') || file.includes('/policy/')

/** Whether a guarded file may run code from there. Types may come from anywhere that the arrows allow. */
const isPlain = (file) => isGuarded(file) || file.startsWith('protocol/') || file.startsWith('bundle/format/')

/** Calls `check(specifier, source path, target path, isTypeOnly)` for each import of one of our own files. */
function onImports(context, check) {
  const from = inSource(context.filename)
  if (from === undefined) return {}
  const look = (node, isTypeOnly) => {
    const specifier = node.source?.value
    if (typeof specifier !== 'string') return
    const to = specifier.startsWith('.')
      ? inSource(path.resolve(path.dirname(context.filename), specifier))
      : undefined
    check(node, from, to, isTypeOnly, specifier)
  }
  const allTypes = (node) =>
    node.importKind === 'type' ||
    (node.specifiers?.length > 0 && node.specifiers.every(({ importKind }) => importKind === 'type'))
  return {
    ImportDeclaration: (node) => look(node, allTypes(node)),
    ExportNamedDeclaration: (node) => look(node, node.exportKind === 'type'),
    ExportAllDeclaration: (node) => look(node, node.exportKind === 'type'),
    ImportExpression: (node) => look(node, false),
  }
}

const arrows = {
  create: (context) =>
    onImports(context, (node, from, to) => {
      if (to === undefined) return
      const [room, other] = [from.split('/')[0], to.split('/')[0]]
      const allowed = ARROWS[room]
      if (allowed === undefined)
        context.report({ node, message: `${room}/ has no line in ${import.meta.filename}` })
      else if (room !== other && CLOSED.some((closed) => to.startsWith(closed)))
        context.report({ node, message: `${path.dirname(to)}/ is closed: import ${path.dirname(to)}.ts` })
      else if (room !== other && !allowed.includes(other))
        context.report({
          node,
          message: `${room}/ may import only ${allowed.join(', ') || 'nothing of ours'}`,
        })
    }),
}

const guard = {
  create(context) {
    const from = inSource(context.filename)
    if (from === undefined || !(isGuarded(from) || from.startsWith('protocol/'))) return {}
    return onImports(context, (node, _, to, isTypeOnly, specifier) => {
      if (specifier.startsWith('node:'))
        context.report({ node, message: 'a guarded room does no I/O: no module of Node' })
      if (to !== undefined && !isTypeOnly && !isPlain(to))
        context.report({
          node,
          message: `a guarded room runs no code of ${path.dirname(to)}/: only its types may be imported`,
        })
    })
  },
}

export default { rules: { arrows, guard } }
