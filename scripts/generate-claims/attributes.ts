import { type Coiner, type Kind, patterns, type Term } from './names.ts'

type Draw = (coiner: Coiner) => Term

export interface Attribute {
  value: Draw
  /** Ways to state it, of the subject `{s}` and the value `{v}`: three or more, as evidence may use up two. */
  states: readonly string[]
  denies: readonly string[]
}

const attribute = (value: Draw, states: string, denies: string): Attribute => ({
  value,
  states: states.split(' | '),
  denies: denies.split(' | '),
})

// One function for each sort of value: values drawn by the same function can be mistaken for one another.
export const entities = Object.fromEntries(
  Object.keys(patterns).map((kind) => [kind, (coiner: Coiner) => coiner.entity(kind as Kind)]),
) as Record<Kind, Draw>
function year(first: number, last: number): Draw {
  return (coiner) => coiner.year(first, last)
}
function amount(low: number, high: number, step = 1): Draw {
  return (coiner) => coiner.amount(low, high, step)
}
function oneOf(items: string): Draw {
  const list = items.split(' ')
  return (coiner) => coiner.choice(list)
}

const goods = oneOf('cheese wool copper glass tobacco honey leather paper salt timber wine silk')
const genre = oneOf('comedy thriller romance western tragedy satire mystery')

const attributes: Partial<Record<Kind, readonly Attribute[]>> = {
  person: [
    // Births and deaths lie apart, so that arithmetic alone never contradicts the evidence.
    attribute(
      year(1861, 1899),
      '{s} was born in {v} | {s} came into the world in {v} | the birth year of {s} is {v}',
      '{s} was not born in {v} | the birth year of {s} is not {v}',
    ),
    attribute(
      year(1931, 1969),
      '{s} died in {v} | {s} passed away in {v} | the death of {s} was in {v}',
      '{s} did not die in {v} | the death of {s} was not in {v}',
    ),
    attribute(
      entities.town,
      '{s} was born in {v} | {s} is a native of {v} | {v} is the birthplace of {s}',
      '{s} was not born in {v} | {v} is not the birthplace of {s}',
    ),
    attribute(
      entities.town,
      '{s} is buried in {v} | {v} holds the grave of {s} | the grave of {s} is in {v}',
      '{s} is not buried in {v} | the grave of {s} is not in {v}',
    ),
    attribute(
      oneOf(
        'painter chemist surgeon lawyer teacher sailor farmer baker banker judge poet pilot miner printer',
      ),
      '{s} worked as a {v} | {s} was a {v} by trade | {s} earned a living as a {v}',
      '{s} was not a {v} by trade | {s} did not work as a {v}',
    ),
    attribute(
      entities.college,
      '{s} studied at {v} | {s} took a degree at {v} | {v} was where {s} studied',
      '{s} did not study at {v} | {v} was not where {s} studied',
    ),
    attribute(
      entities.person,
      '{s} was taught by {v} | {s} was a pupil of {v} | {v} was the teacher of {s}',
      '{s} was not taught by {v} | {v} was not the teacher of {s}',
    ),
    attribute(
      oneOf('violin oboe cello flute harp trumpet piano organ lute drum'),
      '{s} played the {v} | {s} performed on the {v} | the instrument of {s} was the {v}',
      '{s} did not play the {v} | the instrument of {s} was not the {v}',
    ),
    attribute(
      entities.prize,
      '{s} won {v} | {s} was awarded {v} | {v} went to {s}',
      '{s} did not win {v} | {s} was not awarded {v}',
    ),
  ],
  town: [
    attribute(
      entities.country,
      '{s} is a town in {v} | {s} lies in {v} | {s} belongs to {v}',
      '{s} is not a town in {v} | {s} does not lie in {v}',
    ),
    attribute(
      amount(2_000, 900_000, 1_000),
      '{s} has {v} inhabitants | {s} is home to {v} people | the population of {s} is {v}',
      '{s} does not have {v} inhabitants | the population of {s} is not {v}',
    ),
    attribute(
      entities.person,
      '{s} has {v} as its mayor | {s} is governed by Mayor {v} | {v} is the mayor of {s} | the mayor of {s} is {v}',
      '{v} is not the mayor of {s} | the mayor of {s} is not {v}',
    ),
    attribute(
      year(1100, 1850),
      '{s} was founded in {v} | {s} was settled in {v} | the founding of {s} was in {v}',
      '{s} was not founded in {v} | {s} was not settled in {v}',
    ),
    attribute(
      entities.river,
      '{s} stands on {v} | {s} lies on the banks of {v} | {v} runs through {s}',
      '{s} does not stand on {v} | {v} does not run through {s}',
    ),
    attribute(
      goods,
      '{s} is best known for its {v} | {s} makes mostly {v} | the main product of {s} is {v}',
      '{s} is not best known for its {v} | the main product of {s} is not {v}',
    ),
  ],
  country: [
    attribute(
      entities.person,
      '{s} is ruled by {v} | {s} has {v} as its ruler | {v} is the ruler of {s}',
      '{s} is not ruled by {v} | {v} is not the ruler of {s}',
    ),
    attribute(
      year(1780, 1990),
      '{s} became independent in {v} | {s} gained its independence in {v} | the independence of {s} came in {v}',
      '{s} did not become independent in {v} | the independence of {s} did not come in {v}',
    ),
    attribute(
      goods,
      '{s} exports mostly {v} | {s} depends on exports of {v} | the main export of {s} is {v}',
      '{s} does not export mostly {v} | the main export of {s} is not {v}',
    ),
    attribute(
      entities.mountain,
      '{s} has its highest point on {v} | {v} is the highest point of {s} | the highest point of {s} is {v}',
      '{v} is not the highest point of {s} | the highest point of {s} is not {v}',
    ),
  ],
  company: [
    attribute(
      entities.person,
      '{s} was founded by {v} | {s} was set up by {v} | {v} founded {s} | the founder of {s} was {v}',
      '{s} was not founded by {v} | {v} did not found {s}',
    ),
    attribute(
      entities.person,
      '{s} is headed by {v} | {s} is run by {v} | {v} is the head of {s} | {v} runs {s}',
      '{s} is not headed by {v} | {v} does not run {s}',
    ),
    attribute(
      entities.town,
      '{s} is based in {v} | {s} has its head office in {v} | {v} is the seat of {s} | the headquarters of {s} are in {v}',
      '{s} is not based in {v} | {v} is not the seat of {s}',
    ),
    attribute(
      year(1850, 1990),
      '{s} was founded in {v} | {s} opened for business in {v} | the founding of {s} was in {v}',
      '{s} was not founded in {v} | {s} did not open for business in {v}',
    ),
    attribute(
      amount(50, 9_000, 50),
      '{s} employs {v} people | {s} has a staff of {v} | the staff of {s} numbers {v}',
      '{s} does not employ {v} people | the staff of {s} does not number {v}',
    ),
  ],
  college: [
    attribute(
      entities.person,
      '{s} is headed by {v} | {s} has {v} as its principal | {v} is the principal of {s}',
      '{s} is not headed by {v} | {v} is not the principal of {s}',
    ),
    attribute(
      entities.town,
      '{s} is located in {v} | {s} has its campus in {v} | {v} is home to {s}',
      '{s} is not located in {v} | {v} is not home to {s}',
    ),
    attribute(
      year(1450, 1980),
      '{s} was founded in {v} | {s} took its first students in {v} | the founding of {s} was in {v}',
      '{s} was not founded in {v} | {s} did not take its first students in {v}',
    ),
    attribute(
      amount(200, 9_000, 100),
      '{s} has {v} students | {s} teaches {v} students | {v} students attend {s}',
      '{s} does not have {v} students | {s} does not teach {v} students',
    ),
  ],
  film: [
    attribute(
      entities.person,
      '{s} was directed by {v} | {s} was filmed by {v} | {v} directed {s} | the director of {s} was {v}',
      '{s} was not directed by {v} | {v} did not direct {s}',
    ),
    attribute(
      entities.person,
      '{s} starred {v} | {s} had {v} in the leading role | {v} starred in {s} | {v} played the lead in {s}',
      '{s} did not star {v} | {v} did not star in {s}',
    ),
    attribute(
      year(1921, 2015),
      '{s} was released in {v} | {s} came out in {v} | the release of {s} was in {v}',
      '{s} was not released in {v} | {s} did not come out in {v}',
    ),
    attribute(
      entities.town,
      '{s} was shot in {v} | {s} was filmed on location in {v} | {v} was where {s} was shot',
      '{s} was not shot in {v} | {v} was not where {s} was shot',
    ),
    attribute(
      genre,
      '{s} is a {v} | {s} was made as a {v} | the genre of {s} is {v}',
      '{s} is not a {v} | the genre of {s} is not {v}',
    ),
  ],
  novel: [
    attribute(
      entities.person,
      '{s} was written by {v} | {s} is the work of {v} | {v} wrote {s} | the author of {s} is {v}',
      '{s} was not written by {v} | {v} did not write {s}',
    ),
    attribute(
      entities.person,
      '{s} was illustrated by {v} | {s} has drawings by {v} | {v} illustrated {s}',
      '{s} was not illustrated by {v} | {v} did not illustrate {s}',
    ),
    attribute(
      year(1790, 2010),
      '{s} was published in {v} | {s} appeared in {v} | the publication of {s} was in {v}',
      '{s} was not published in {v} | {s} did not appear in {v}',
    ),
    attribute(
      entities.town,
      '{s} is set in {v} | {s} takes place in {v} | {v} is the setting of {s}',
      '{s} is not set in {v} | {v} is not the setting of {s}',
    ),
    attribute(
      genre,
      '{s} is a {v} | {s} was written as a {v} | the genre of {s} is {v}',
      '{s} is not a {v} | the genre of {s} is not {v}',
    ),
  ],
  opera: [
    attribute(
      entities.person,
      '{s} was composed by {v} | {s} has music by {v} | {v} composed {s} | the composer of {s} was {v}',
      '{s} was not composed by {v} | {v} did not compose {s}',
    ),
    attribute(
      entities.person,
      '{s} was dedicated to {v} | {s} was written in honour of {v} | the dedication of {s} was to {v}',
      '{s} was not dedicated to {v} | the dedication of {s} was not to {v}',
    ),
    attribute(
      entities.town,
      '{s} was first performed in {v} | {s} had its premiere in {v} | {v} saw the premiere of {s}',
      '{s} was not first performed in {v} | {v} did not see the premiere of {s}',
    ),
    attribute(
      year(1700, 1930),
      '{s} was first performed in {v} | {s} had its premiere in {v} | the premiere of {s} was in {v}',
      '{s} was not first performed in {v} | the premiere of {s} was not in {v}',
    ),
  ],
  river: [
    attribute(
      amount(90, 2_900, 10),
      '{s} is {v} kilometres long | {s} runs for {v} kilometres | the length of {s} is {v} kilometres',
      '{s} is not {v} kilometres long | the length of {s} is not {v} kilometres',
    ),
    attribute(
      entities.lake,
      '{s} flows into {v} | {s} empties into {v} | {v} is fed by {s}',
      '{s} does not flow into {v} | {v} is not fed by {s}',
    ),
    attribute(
      entities.mountain,
      '{s} rises on {v} | {s} has its source on {v} | the source of {s} is on {v}',
      '{s} does not rise on {v} | the source of {s} is not on {v}',
    ),
  ],
  mountain: [
    attribute(
      amount(1_100, 7_900, 10),
      '{s} is {v} metres high | {s} rises to {v} metres | the height of {s} is {v} metres',
      '{s} is not {v} metres high | the height of {s} is not {v} metres',
    ),
    attribute(
      entities.person,
      '{s} was first climbed by {v} | {v} was first to climb {s} | {v} made the first ascent of {s}',
      '{s} was not first climbed by {v} | {v} was not first to climb {s}',
    ),
    attribute(
      year(1830, 1990),
      '{s} was first climbed in {v} | {s} was first conquered in {v} | the first ascent of {s} was in {v}',
      '{s} was not first climbed in {v} | the first ascent of {s} was not in {v}',
    ),
  ],
  ship: [
    attribute(
      entities.company,
      '{s} was built by {v} | {s} came from the yards of {v} | {v} built {s}',
      '{s} was not built by {v} | {v} did not build {s}',
    ),
    attribute(
      year(1880, 2005),
      '{s} was launched in {v} | {s} first sailed in {v} | the launch of {s} was in {v}',
      '{s} was not launched in {v} | the launch of {s} was not in {v}',
    ),
    attribute(
      entities.person,
      '{s} is commanded by {v} | {s} has {v} as its captain | {v} is the captain of {s}',
      '{s} is not commanded by {v} | {v} is not the captain of {s}',
    ),
    attribute(
      entities.town,
      '{s} has its home port in {v} | {v} is the home port of {s} | the home port of {s} is {v}',
      '{v} is not the home port of {s} | the home port of {s} is not {v}',
    ),
  ],
  bridge: [
    attribute(
      entities.river,
      '{s} crosses {v} | {s} spans {v} | {v} is crossed by {s}',
      '{s} does not cross {v} | {v} is not crossed by {s}',
    ),
    attribute(
      entities.person,
      '{s} was designed by {v} | {s} is the work of {v} | {v} designed {s} | the designer of {s} was {v}',
      '{s} was not designed by {v} | {v} did not design {s}',
    ),
    attribute(
      year(1850, 2015),
      '{s} was opened in {v} | {s} first carried traffic in {v} | the opening of {s} was in {v}',
      '{s} was not opened in {v} | the opening of {s} was not in {v}',
    ),
    attribute(
      amount(80, 3_000, 20),
      '{s} is {v} metres long | {s} has a length of {v} metres | the length of {s} is {v} metres',
      '{s} is not {v} metres long | the length of {s} is not {v} metres',
    ),
  ],
  museum: [
    attribute(
      entities.town,
      '{s} is located in {v} | {s} stands in {v} | {v} is home to {s}',
      '{s} is not located in {v} | {v} is not home to {s}',
    ),
    attribute(
      entities.person,
      '{s} was designed by {v} | {v} designed {s} | the architect of {s} was {v}',
      '{s} was not designed by {v} | the architect of {s} was not {v}',
    ),
    attribute(
      entities.person,
      '{s} is headed by {v} | {v} is the director of {s} | the director of {s} is {v}',
      '{s} is not headed by {v} | {v} is not the director of {s}',
    ),
    attribute(
      year(1800, 2005),
      '{s} was opened in {v} | {s} received its first visitors in {v} | the opening of {s} was in {v}',
      '{s} was not opened in {v} | the opening of {s} was not in {v}',
    ),
  ],
  comet: [
    attribute(
      entities.person,
      '{s} was discovered by {v} | {s} was first seen by {v} | {v} discovered {s} | the discoverer of {s} was {v}',
      '{s} was not discovered by {v} | {v} did not discover {s}',
    ),
    attribute(
      year(1740, 2015),
      '{s} was discovered in {v} | {s} was first seen in {v} | the discovery of {s} was in {v}',
      '{s} was not discovered in {v} | the discovery of {s} was not in {v}',
    ),
    attribute(
      amount(5, 190),
      '{s} returns every {v} years | {s} has a period of {v} years | the period of {s} is {v} years',
      '{s} does not return every {v} years | the period of {s} is not {v} years',
    ),
  ],
  club: [
    attribute(
      entities.person,
      '{s} is coached by {v} | {s} has {v} as its coach | {v} coaches {s} | {v} is the coach of {s}',
      '{s} is not coached by {v} | {v} does not coach {s}',
    ),
    attribute(
      entities.person,
      '{s} is captained by {v} | {s} has {v} as its captain | {v} captains {s} | {v} is the captain of {s}',
      '{s} is not captained by {v} | {v} is not the captain of {s}',
    ),
    attribute(
      entities.town,
      '{s} plays at home in {v} | {s} has its ground in {v} | the ground of {s} is in {v}',
      '{s} does not play at home in {v} | the ground of {s} is not in {v}',
    ),
    attribute(
      year(1860, 1960),
      '{s} was founded in {v} | {s} played its first match in {v} | the founding of {s} was in {v}',
      '{s} was not founded in {v} | the founding of {s} was not in {v}',
    ),
  ],
}

export const attributesOf = (kind: Kind): readonly Attribute[] => attributes[kind] ?? []
export const catalogue = Object.entries(attributes).flatMap(([kind, list]) =>
  list.map((entry) => ({ kind: kind as Kind, attribute: entry })),
)
