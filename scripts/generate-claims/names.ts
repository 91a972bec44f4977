import { hash, type Random } from '../support/random.ts'

export type Split = 'train' | 'held-out'
export const splits: readonly Split[] = ['train', 'held-out']

const words = (text: string): string[] => text.split(/\s+/)

const roots = words(`Al An Ar Bal Bel Ber Bor Bran Bren Bur Cal Car Cor Cul Dal Dar Del Dor Dra Dun El Er
  Fal Far Fen Fer Gal Gar Gil Gor Gra Hal Har Hel Hor Il Is Jar Jor Kal Kar Kel Kor Kra Lan Lar Lor Lun
  Mal Mar Mel Mor Nar Nel Nor Ol Or Os Pal Par Pel Per Quil Ral Ran Ros Sal San Sel Sil Sor Tal Tam Tel
  Tor Ul Ur Val Var Vel Vol Wal War Wil Yar Yel Zan Zor`)
const middles = words(`a e i o u an ar el en er il in ol on or ur ad ed id od ag eg og am em im om ab ib`)

const endings = {
  given: words('a o e is us ina ena ora eth iel ette ric bert win dra lia mir nor wyn san'),
  family: words('sen vik ard man off elli ez eau ski sson ley ton more field hart well dale dt quist ves'),
  place: words(`ford burg wick stad mora ville port ham by mouth gate dorf bridge haven minster tal nia holm
    rup cester`),
  realm: words('ia land stan ova onia aria istan mark avia entia'),
  thing: words('ax eth ine ion ora ynx andt eron ique ane ius ell ant esk olt ark una ith ond aris'),
}

type Style = keyof typeof endings

/** How each kind of entity is named: a `{style}` in a pattern stands for a coined word. */
export const patterns = {
  person: ['{given} {family}'],
  town: ['{place}'],
  country: ['{realm}'],
  company: ['{thing} Motors', '{thing} Steel', '{thing} Works', '{thing} Brothers'],
  college: ['{place} College', '{place} Academy', '{family} College', '{family} Academy'],
  film: ['Return to {place}', 'Winter in {place}', 'The {thing} Affair', 'Goodbye {given}'],
  novel: ['The {thing} Letters', 'A House in {place}', 'The Road to {place}', 'Dear {given}'],
  river: ['the {thing} River'],
  lake: ['Lake {thing}'],
  mountain: ['Mount {thing}', '{thing} Peak'],
  ship: ['the SS {given}', 'the SS {thing}'],
  bridge: ['the {family} Bridge', 'the {place} Bridge'],
  museum: ['the {family} Museum', 'the {place} Museum'],
  prize: ['the {family} Prize', 'the {thing} Prize', 'the {family} Medal'],
  comet: ['Comet {family}', 'Comet {thing}'],
  club: ['{place} United', '{place} Rovers', '{place} Athletic'],
  opera: ['The {thing} Crown', 'The Bells of {place}', 'Queen {given}'],
} as const satisfies Record<string, readonly string[]>

export type Kind = keyof typeof patterns

interface CoinedWord {
  style: Style
  root: string
  middle: string
  ending: string
}

/** The coined words a pattern asks for, in order. */
const stylesIn = (pattern: string): Style[] =>
  Array.from(pattern.matchAll(/\{(\w+)\}/g), ([, style]) => style as Style)

const spell = (word: CoinedWord): string => word.root + word.middle + word.ending

/** The split a coined word belongs to: about one in eight is held out. */
export function splitOf(coined: string): Split {
  // The low bits of FNV-1a depend on the low bits of the characters only.
  return (hash(coined) >>> 16) % 8 === 0 ? 'held-out' : 'train'
}

/** Something a sentence can mention, which knows how to be replaced by another of its sort. */
export interface Term {
  text: string
  /** A different term of the same sort, as often easily confused with this one as not. */
  other(): Term
}

/** Coins the names and numbers of one split. */
export class Coiner {
  private random: Random
  private split: Split

  constructor(random: Random, split: Split) {
    this.random = random
    this.split = split
  }

  entity(kind: Kind): Term {
    const pattern = this.random.pick<string>(patterns[kind])
    return this.named(
      kind,
      pattern,
      stylesIn(pattern).map((style) => this.word(style)),
    )
  }

  year(first: number, last: number): Term {
    return this.numeric(
      () => this.random.between(first, last),
      (year) => {
        const nearby = year + this.random.pick([-1, 1]) * this.random.between(1, 12)
        return nearby >= first && nearby <= last ? nearby : undefined
      },
      String,
    )
  }

  amount(low: number, high: number, step: number): Term {
    const draw = (): number => this.random.between(low / step, high / step) * step
    // Twice or half as much is the mistake people make with amounts.
    return this.numeric(
      draw,
      (amount) => {
        const mistaken = this.random.chance(0.5) ? amount * 2 : Math.round(amount / 2 / step) * step
        return mistaken >= low && mistaken <= high ? mistaken : undefined
      },
      (amount) => amount.toLocaleString('en-US'),
    )
  }

  choice(items: readonly string[]): Term {
    const make = (text: string): Term => ({
      text,
      other: () => make(this.random.pick(items.filter((item) => item !== text))),
    })
    return make(this.random.pick(items))
  }

  private numeric(
    draw: () => number,
    confuse: (value: number) => number | undefined,
    format: (value: number) => string,
  ): Term {
    const make = (value: number): Term => ({
      text: format(value),
      other: () => {
        for (;;) {
          const next = (this.random.chance(0.5) ? confuse(value) : undefined) ?? draw()
          if (next !== value) return make(next)
        }
      },
    })
    return make(draw())
  }

  private named(kind: Kind, pattern: string, coined: readonly CoinedWord[]): Term {
    let next = 0
    const text = pattern.replace(/\{\w+\}/g, () => spell(coined[next++] as CoinedWord))
    return {
      text,
      other: () => {
        for (;;) {
          const term = this.random.chance(0.5) ? this.lookalike(kind, pattern, coined) : this.entity(kind)
          if (term.text !== text) return term
        }
      },
    }
  }

  /** Shares a coined word, or all but one part of it, with the entity described. */
  private lookalike(kind: Kind, pattern: string, coined: readonly CoinedWord[]): Term {
    const siblings = patterns[kind].filter(
      (other) => other !== pattern && stylesIn(other).join() === stylesIn(pattern).join(),
    )
    if (siblings.length > 0 && this.random.chance(0.3))
      return this.named(kind, this.random.pick(siblings), coined)
    const changed = this.random.between(0, coined.length - 1)
    return this.named(
      kind,
      pattern,
      coined.map((word, i) => (i === changed ? this.confusable(word) : word)),
    )
  }

  private word(style: Style): CoinedWord {
    return this.owned(() => ({
      style,
      root: this.random.pick(roots),
      middle: this.random.chance(0.5) ? this.random.pick(middles) : '',
      ending: this.random.pick(endings[style]),
    }))
  }

  private confusable(word: CoinedWord): CoinedWord {
    return this.owned(() => {
      const part = this.random.pick(['root', 'middle', 'ending'] as const)
      return { ...word, [part]: this.word(word.style)[part] }
    })
  }

  /** Draws until the word is one of this coiner's split. */
  private owned(draw: () => CoinedWord): CoinedWord {
    for (;;) {
      const word = draw()
      if (splitOf(spell(word)) === this.split) return word
    }
  }
}
