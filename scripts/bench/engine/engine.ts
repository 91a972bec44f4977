/** How an engine is run on one kind of workload: prompts are tokens, and each has a number of new tokens. */
export type Measure = (work: {
  model: string
  prompts: readonly (readonly number[])[]
  /** What a user says, that the prompts are made of, where they are. */
  texts?: readonly string[]
  limits: readonly number[]
  endTokens: readonly number[]
  threads: number
}) => Promise<{ seconds: number; tokens: number }>
