import { argmax, type Logits } from '../answers/sampling.ts'

/* What a pass says of the tokens that may come next. On a device it is told first which is the likeliest, which is often enough. */

/** Scores of the token that comes next. */
export interface TokenScores {
  /** The likeliest token, the first of equals; -1 if no score is a number. */
  readonly best: number
  /**
   * The score of each token. It is overwritten by the next pass.
   *
   * @throws while the scores are on the device
   */
  readonly all: Logits
}

/** Scores of all rows of a pass, where `Place` says of which row and column. */
export interface PassScores<Place extends readonly number[]> {
  readonly at: (...place: Place) => TokenScores
  /** Brings the scores from the device; undefined where they are here. */
  readonly bring: (() => Promise<void>) | undefined
}

/** Scores that are here. */
export class HostScores implements TokenScores {
  readonly all: Logits

  constructor(all: Logits) {
    this.all = all
  }

  get best(): number {
    return argmax(this.all)
  }
}

/** Scores that are read where they lie in memory. */
export function hostScores<Place extends readonly number[]>(
  all: (...place: Place) => Logits,
): PassScores<Place> {
  return { at: (...place) => new HostScores(all(...place)), bring: undefined }
}

/** All scores of a pass, wherever they were. */
export async function allScores<Place extends readonly number[]>(
  scores: PassScores<Place>,
): Promise<(...place: Place) => Logits> {
  await scores.bring?.()
  return (...place) => scores.at(...place).all
}
