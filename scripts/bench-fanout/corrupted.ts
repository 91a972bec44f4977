import type { Pieces } from '../../src/bundle/pieces.ts'
import type { Store } from '../../src/bundle/store.ts'

/** A store whose every piece leaves with a wrong byte. */
export function corrupted(real: Store): Store {
  const spoiled = new WeakMap<Pieces, Pieces>()
  const spoil = (pieces: Pieces | undefined): Pieces | undefined => {
    if (!pieces) return undefined
    const known = spoiled.get(pieces) ?? spoilReads(pieces)
    spoiled.set(pieces, known)
    return known
  }
  return {
    ...real,
    pieces: async (bundle) => spoil(await real.pieces(bundle)),
    awaitPieces: async (...args) => spoil(await real.awaitPieces(...args)),
  }
}

function spoilReads(pieces: Pieces): Pieces {
  return {
    ...pieces,
    async read(...args) {
      const data = await pieces.read(...args)
      data[0]! ^= 1
      return data
    },
  }
}
