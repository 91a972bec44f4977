/*
 * The parts of two libraries that are used here. Both ship declarations whose relative imports have no file extension,
 * which this project's module resolution rightly does not follow.
 */

declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    constructor(definition: object, config: object)
    encode(
      text: string,
      options?: { text_pair?: string | null; add_special_tokens?: boolean; return_token_type_ids?: boolean },
    ): { ids: (number | undefined)[]; token_type_ids?: number[] }
    decode(ids: number[], options?: { clean_up_tokenization_spaces?: boolean }): string
    id_to_token(id: number): string | undefined
    token_to_id(token: string): number | undefined
    get_added_tokens_decoder(): Map<number, { special: boolean }>
    readonly model: TokenizerModel
  }

  /** What turns the words of a text into tokens. */
  export interface TokenizerModel {
    readonly tokens_to_ids: Map<string, number>
    /** The tokens as the model spells them, by id. */
    readonly vocab: (string | undefined)[]
    encode(words: string[]): string[]
    readonly unk_token?: string | null
    unk_token_id?: number | undefined
    /** Of BPE alone: queues a part of a word and the next one, if they can be merged, by how soon they are. */
    add_node?: (queue: { push(node: WordPart): void }, node: WordPart) => void
  }

  /** A part of a word that has a next one. */
  export interface WordPart {
    readonly token: string
    readonly next: { readonly token: string }
    /** Where in the word it is, from 0 to 1. */
    readonly bias: number
    /** Those of least score are merged first. */
    score?: number
  }
}

declare module '@huggingface/jinja' {
  /** A node of a parsed template. */
  export interface Statement {
    type: string
  }
  export interface Value {
    type: string
    value: unknown
    toString(): string
  }
  export class Environment {
    set(name: string, value: unknown): Value
  }
  export class Interpreter {
    constructor(environment: Environment)
    run(program: Statement): Value
    evaluate(statement: Statement | undefined, environment: Environment): Value
  }
  export function tokenize(
    source: string,
    options: { lstrip_blocks: boolean; trim_blocks: boolean },
  ): unknown[]
  export function parse(tokens: unknown[]): Statement
}
