import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { errnoOf } from '../format/errors.ts'
import type { StoreOwner } from './store-owner.ts'

/*
 * Claims on a bundle by the processes that share a store, which survive any death of their owner: a claim is an empty file
 * `claims/BUNDLE/TOKEN-N.KIND`, and counts only while the owner with that token lives. Nothing is ever taken over, so there
 * is no race over what is stale: to claim, a process makes its own file first and then looks at the others; two that
 * come at once see each other.
 */

/**
 * - `hold`: the bundle's files are in use.
 * - `fetch`: its pieces are being fetched.
 * - `fit`: its files are being fitted to their place, most often by a process that fetches it, too.
 * - `removal`: it is being removed.
 */
export type ClaimKind = 'hold' | 'fetch' | 'fit' | 'removal'

const conflicts: Record<ClaimKind, ClaimKind[]> = {
  hold: ['removal'],
  fetch: ['fetch', 'removal'],
  fit: ['fit', 'removal'],
  removal: ['hold', 'fetch', 'fit', 'removal'],
}

export type Claim = { release(): Promise<void> }

export type Claims = {
  /** Undefined if a claim that does not go with it is there. */
  tryClaim(bundle: string, kind: ClaimKind): Promise<Claim | undefined>
  /** Waits for its turn. Only for claims that conflict with short ones. */
  claim(bundle: string, kind: ClaimKind, signal?: AbortSignal): Promise<Claim>
  /** Kinds of the claims that live owners have on the bundle. */
  current(bundle: string): Promise<ClaimKind[]>
  /** The same of other owners alone. */
  elsewhere(bundle: string): Promise<ClaimKind[]>
}

export function openClaims(folder: string, owner: StoreOwner): Claims {
  let serial = 0

  const present = async (
    bundle: string,
    isLeftOut: (name: string) => boolean = () => false,
  ): Promise<ClaimKind[]> => {
    const dir = path.join(folder, bundle)
    const names = await readdir(dir).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    })
    const kinds = await Promise.all(
      names.map(async (name) => {
        if (isLeftOut(name)) return []
        const [token = '', kind] = [name.split('-')[0], name.split('.')[1] as ClaimKind]
        if (await owner.lives(token)) return [kind]
        // Its owner is dead and tokens are never used again, so anyone may clear it away at any time.
        await rm(path.join(dir, name), { force: true })
        return []
      }),
    )
    return kinds.flat()
  }

  const tryClaim = async (bundle: string, kind: ClaimKind): Promise<Claim | undefined> => {
    const name = `${owner.token}-${serial++}.${kind}`
    const file = path.join(folder, bundle, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, '', { flag: 'wx' })
    const release = () => rm(file, { force: true })
    try {
      const others = await present(bundle, (other) => other === name)
      if (!others.some((other) => conflicts[kind].includes(other))) return { release }
    } catch (error) {
      await release()
      throw error
    }
    await release()
    return undefined
  }

  return {
    tryClaim,
    async claim(bundle, kind, signal) {
      for (;;) {
        const claim = await tryClaim(bundle, kind)
        if (claim) return claim
        // Two that retreat from each other must not come back in step.
        await sleep(5 + Math.random() * 45, undefined, signal && { signal })
      }
    },
    current: (bundle) => present(bundle),
    elsewhere: (bundle) => present(bundle, (name) => name.startsWith(`${owner.token}-`)),
  }
}
