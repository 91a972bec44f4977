import { z } from 'zod'

/*
 * What a factory and the relay that it has started on a submit node tell each other, one line each, before the streams between them
 * become a tunnel.
 */

/** Longest of these lines, bytes: the certificate is in the first. */
export const RELAY_LINE_MOST = 64 << 10

const Port = z.int().min(0).max(65_535)

/** From the factory: what the relay is to be. */
export const RelaySettings = z.object({
  /** Tells this relay from those of other factories: a former one of the same name ends when this one begins. */
  name: z.string().regex(/^[\w-]{1,100}$/),
  /** Where pilots reach it: one of the submit node's own addresses. Default: those of the cluster's network. */
  address: z.string().max(255).optional(),
  /** 0 takes a free one. A port that is taken gives way to a free one, too. */
  port: Port,
  /** Folder of the submit node for bundles, and the most that they may take there, bytes. */
  cache: z.string().startsWith('/'),
  cacheBytes: z.number().positive(),
  /** The manager's certificate, PEM. */
  certificate: z.string(),
  /** Folder of the submit node with the archives that pilots boot from, each named by its SHA-256. */
  runtimes: z.string().startsWith('/'),
})
export type RelaySettings = z.infer<typeof RelaySettings>

/** From the relay: where pilots reach it. */
export const RelayPlace = z.object({ addresses: z.array(z.string().max(255)).min(1).max(100), port: Port })
export type RelayPlace = z.infer<typeof RelayPlace>

/** `HOST:PORT` of a relay, as pilots dial it. */
export const RelayAddress = z
  .string()
  .max(300)
  .regex(/^(\[[\da-fA-F:.]+\]|[\w.-]+):\d{1,5}$/, 'expected HOST:PORT of a relay')
