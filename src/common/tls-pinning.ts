import { X509Certificate } from 'node:crypto'
import { checkServerIdentity } from 'node:tls'
import type { buildConnector } from 'undici'

/** Options of connections that trust this very certificate (PEM), under any name: a submit node goes by many. */
export function trustOnlyCertificate(certificate: string): buildConnector.BuildOptions {
  const pinned = new X509Certificate(certificate).fingerprint256
  return {
    ca: certificate,
    checkServerIdentity: (host, peer) =>
      peer.fingerprint256 === pinned ? undefined : checkServerIdentity(host, peer),
  }
}
