import { type Attribute, attributesOf, catalogue, entities } from './attributes.ts'
import { Coiner, type Kind, type Split, type Term } from './names.ts'
import { hash, Random } from '../support/random.ts'

export type Label = 'SUPPORTS' | 'REFUTES' | 'NOT ENOUGH INFO'
export const labels: readonly Label[] = ['SUPPORTS', 'REFUTES', 'NOT ENOUGH INFO']

export interface Example {
  claim: string
  evidence: string
  label: Label
}

interface Fact {
  kind: Kind
  attribute: Attribute
  subject: Term
  value: Term
}

/** A fact in the words the evidence states it with. */
interface Statement extends Fact {
  wording: string
}

type Told = readonly [Statement] | readonly [Statement, Statement]

/** How often a claim is worded as a denial, whatever its label: a "not" must give nothing away. */
const denialRate = 0.15

const fill = (wording: string, fact: Fact): string =>
  wording.replace('{s}', fact.subject.text).replace('{v}', fact.value.text)
const say = (statement: Statement): string => fill(statement.wording, statement)
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`

export class Author {
  private random: Random
  private coiner: Coiner

  constructor(seed: number, split: Split) {
    this.random = new Random(hash(`${split} ${seed}`))
    this.coiner = new Coiner(this.random, split)
  }

  /** Evidence with one claim for each label, in random order. */
  write(): Example[] {
    const told = this.told()
    const evidence = this.evidence(told)
    return this.random.shuffled(labels).map((label) => ({ claim: this.claim(label, told), evidence, label }))
  }

  private claim(label: Label, told: Told): string {
    const denial = this.random.chance(denialRate)
    const claimed = this.claimed(label, denial, told)
    const wordings = denial ? claimed.attribute.denies : claimed.attribute.states
    // Never the evidence's own words, whatever the label: that would turn reading into copying.
    const used = told.map((statement) => statement.wording)
    return sentence(fill(this.random.pick(wordings.filter((wording) => !used.includes(wording))), claimed))
  }

  /** One fact, two about the same subject, or one each about two subjects. */
  private told(): Told {
    const { kind, attribute } = this.random.pick(catalogue)
    const first = this.state({
      kind,
      attribute,
      subject: this.coiner.entity(kind),
      value: attribute.value(this.coiner),
    })
    const another = this.random.pick(attributesOf(kind).filter((entry) => entry !== attribute))
    const arrangement = this.random.next()
    if (arrangement < 0.3) return [first]
    if (arrangement < 0.65)
      return [first, this.state({ ...first, attribute: another, value: another.value(this.coiner) })]
    const subject = first.subject.other()
    if (this.random.chance(0.6)) return [first, this.state({ ...first, subject, value: first.value.other() })]
    return [first, this.state({ kind, attribute: another, subject, value: another.value(this.coiner) })]
  }

  private state(fact: Fact): Statement {
    return { ...fact, wording: this.random.pick(fact.attribute.states) }
  }

  private evidence([first, second]: Told): string {
    if (second === undefined) return sentence(say(first))
    if (first.subject !== second.subject) {
      if (this.random.chance(0.3)) return sentence(`${say(first)}, while ${say(second)}`)
    } else if (first.wording.startsWith('{s} ') && second.wording.startsWith('{s} ')) {
      const predicate = fill(second.wording.slice('{s} '.length), second)
      if (this.random.chance(0.4)) return sentence(`${say(first)} and ${predicate}`)
      // A pronoun would be ambiguous after a value that is itself of the subject's kind.
      if (first.attribute.value !== entities[first.kind] && this.random.chance(0.6)) {
        const pronoun = first.kind === 'person' ? this.random.pick(['she', 'he']) : 'it'
        return `${sentence(say(first))} ${sentence(`${pronoun} ${predicate}`)}`
      }
    }
    return `${sentence(say(first))} ${sentence(say(second))}`
  }

  private claimed(label: Label, denial: boolean, facts: readonly Fact[]): Fact {
    const fact = this.random.pick(facts)
    if (label === 'NOT ENOUGH INFO') {
      return (
        (this.random.chance(0.5) && this.unmentionedAttribute(fact, facts)) ||
        this.unmentionedSubject(fact, facts)
      )
    }
    const truthful = (label === 'SUPPORTS') !== denial
    return truthful ? fact : { ...fact, value: this.wrongValue(fact, facts) }
  }

  /** Another value, best of all one the evidence gives for something else. */
  private wrongValue(fact: Fact, facts: readonly Fact[]): Term {
    const rival = facts.find(
      (other) => other.attribute.value === fact.attribute.value && other.value.text !== fact.value.text,
    )
    return rival !== undefined && this.random.chance(0.5) ? rival.value : fact.value.other()
  }

  private unmentionedAttribute(fact: Fact, facts: readonly Fact[]): Fact | undefined {
    const mentioned = facts.filter((other) => other.subject === fact.subject).map((other) => other.attribute)
    const candidates = attributesOf(fact.kind).filter((entry) => !mentioned.includes(entry))
    if (candidates.length === 0) return undefined
    const attribute = this.random.pick(candidates)
    const mistakable = facts.filter((other) => other.attribute.value === attribute.value)
    const value =
      mistakable.length > 0 && this.random.chance(0.7)
        ? this.random.pick(mistakable).value
        : attribute.value(this.coiner)
    return { ...fact, attribute, value }
  }

  private unmentionedSubject(fact: Fact, facts: readonly Fact[]): Fact {
    const mentioned = facts.map((other) => other.subject.text)
    for (;;) {
      const subject = fact.subject.other()
      if (!mentioned.includes(subject.text)) return { ...fact, subject }
    }
  }
}
