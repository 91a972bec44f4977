import type { CompiledGrammar, GrammarCompiler } from '@mlc-ai/web-xgrammar'
import { InputError, SchemaError } from '../../../../common/task-errors.ts'
import type { JsonSchema } from '../../../../protocol/contexts/generation-settings.ts'
import type { TokenSpellings } from '../prompts/tokenizer.ts'
import { type LoadedXgrammar, loadXgrammar } from './xgrammar.ts'

/** Follows one answer, and says which tokens may come next. */
export interface TokenFilter {
  /** Begins the answer again. */
  reset(): void
  /** One bit for each token that may come next, 32 in an element, the lowest first. */
  readonly allowed: Int32Array
  /** Takes the token that was chosen; `allowed` is up to date when the model has computed what follows. */
  accept(token: number): void
}

/** Makes filters for answers that must be JSON of a schema. Of the last schemas the compiled grammars are kept. */
export interface SchemaFilters {
  /** @throws {SchemaError} that says what is wrong with the schema */
  create(schema: JsonSchema): Promise<TokenFilter>
}

/** Schemas whose grammars are kept: each takes some megabytes. */
const KEPT = 32
/** White space between parts of the JSON, characters: enough to indent it, and an end to a model that would go on for ever. */
const SPACE_MAX = 32

interface Compiler {
  library: LoadedXgrammar
  compiler: GrammarCompiler
}

export function createSchemaFilters(
  spellings: TokenSpellings | undefined,
  vocabSize: number,
  endTokens: ReadonlySet<number>,
): SchemaFilters {
  let opened: Promise<Compiler> | undefined
  const grammars = new Map<string, Promise<{ grammar: CompiledGrammar; library: LoadedXgrammar }>>()
  // What a filter holds is no object of JavaScript: it has to be freed.
  const unused = new FinalizationRegistry<{ dispose(): void }>((matcher) => matcher.dispose())

  async function open(): Promise<Compiler> {
    if (!spellings)
      throw new InputError(
        'answers of this model cannot be held to a schema: its tokenizer spells words in parts',
      )
    const library = await loadXgrammar()
    const { TokenizerInfo, GrammarCompiler } = library.xgrammar
    const { pieces, kind } = spellings
    const all = Array.from({ length: vocabSize }, (_, token) => pieces(token))
    const info = await TokenizerInfo.createTokenizerInfo(all, kind, false, vocabSize, [...endTokens])
    return { library, compiler: await GrammarCompiler.createGrammarCompiler(info, false) }
  }

  async function compile(text: string) {
    const { library, compiler } = await (opened ??= open())
    try {
      const grammar = await compiler.compileJSONSchema(text, true, -1, undefined, false, SPACE_MAX)
      return { grammar, library }
    } catch (error) {
      opened = undefined
      throw new SchemaError(`the schema cannot be used: ${library.complaint() || (error as Error).message}`)
    }
  }

  function grammarOf(text: string): ReturnType<typeof compile> {
    const grammar = grammars.get(text) ?? compile(text)
    grammars.delete(text)
    grammars.set(text, grammar)
    for (const oldest of grammars.keys()) if (grammars.size > KEPT) grammars.delete(oldest)
    grammar.catch(() => grammars.delete(text))
    return grammar
  }

  return {
    async create(schema) {
      const { grammar, library } = await grammarOf(JSON.stringify(schema))
      const matcher = await library.xgrammar.GrammarMatcher.createGrammarMatcher(grammar)
      const first = await matcher.getNextTokenBitmask()
      let allowed = first
      const filter: TokenFilter = {
        reset() {
          matcher.reset()
          allowed = first
        },
        get allowed() {
          return allowed
        },
        accept(token) {
          matcher.acceptToken(token)
          void matcher.getNextTokenBitmask().then((next) => (allowed = next))
        },
      }
      unused.register(filter, matcher)
      return filter
    },
  }
}

/** Scores of tokens that may come next; those of all others are -Infinity. They may be overwritten by the next call. */
export function filterScores(scores: ArrayLike<number>, allowed: Int32Array): Float32Array {
  if (shared.length < scores.length) shared = new Float32Array(scores.length)
  const filtered = shared.subarray(0, scores.length)
  filtered.set(scores)
  for (let at = 0; at * 32 < filtered.length; at++) {
    const bits = allowed[at] ?? 0
    if (bits === -1) continue
    const end = Math.min(filtered.length, at * 32 + 32)
    if (bits === 0) filtered.fill(-Infinity, at * 32, end)
    else for (let i = at * 32; i < end; i++) if (((bits >>> (i & 31)) & 1) === 0) filtered[i] = -Infinity
  }
  return filtered
}

let shared = new Float32Array(0)
