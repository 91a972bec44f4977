import type { StoredPieces } from '../../../src/bundle/store/stored-pieces.ts'
import type { Store } from '../../../src/bundle/store/store.ts'

/** A store whose every piece leaves with a wrong byte. */
export function corrupted(real: Store): Store {
  const spoiled = new WeakMap<StoredPieces, StoredPieces>()
  const spoil = (pieces: StoredPieces | undefined): StoredPieces | undefined => {
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

function spoilReads(pieces: StoredPieces): StoredPieces {
  return {
    ...pieces,
    async read(...args) {
      const data = await pieces.read(...args)
      data[0]! ^= 1
      return data
    },
  }
}
