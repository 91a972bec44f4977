/** How an engine is run on one kind of workload: prompts are tokens, and each has a number of new tokens. */
export type Measure = (work: {
  model: string
  prompts: readonly (readonly number[])[]
  limits: readonly number[]
  endTokens: readonly number[]
  threads: number
}) => Promise<{ seconds: number; tokens: number }>
