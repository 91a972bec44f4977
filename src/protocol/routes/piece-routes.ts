import type { Route } from './route.ts'

/** What a source of pieces is asked: the manager, a peer, a relay. */
export const pieceRoutes = {
  /** The manifest's canonical JSON. 404: not held here. 503: busy, ask again soon. */
  manifest: { method: 'GET', path: '/v1/pieces/:bundle/manifest', access: 'ticket', carries: 'text' },
  /** Pieces come over it; see `protocol/channels/piece-frames.ts`. */
  pieces: { method: 'GET', path: '/v1/pieces/:bundle', access: 'ticket', carries: 'channel' },
} as const satisfies Record<string, Route>
