import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { generate } from 'selfsigned'
import type { Certificate } from './server.ts'

/**
 * The certificate is good at all times: it is trusted for its key, which clients and pilots were given with it, and a date would
 * only lock all of them out, when a clock was wrong on the day it was made, or at its end. (The last date means "no end", RFC 5280.)
 */
const ALWAYS = {
  notBeforeDate: new Date('2000-01-01T00:00:00Z'),
  notAfterDate: new Date('9999-12-31T23:59:59Z'),
}
/** One of an earlier version that ends within this time is made anew, milliseconds: pilots that trust it have ended by then. */
const RENEWAL_MS = 366 * 24 * 3_600_000

/** The files of the manager's certificate are not what they should be. */
export class CertificateError extends Error {
  override name = 'CertificateError'
  readonly code = 'GLEANER_CERTIFICATE'
}

/** Addresses that only this machine reaches: no other machine is on the way. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/**
 * The manager's certificate, made at the first start; pilots and clients trust this one and no other. It is made anew
 * if its dates are not those of today, as those of earlier versions may be.
 * The key stays in the state folder, readable by its owner alone.
 * @param names host names and addresses by which it will be reached, beside this machine's own
 * @throws {CertificateError} if the files are there, and no certificate and its key
 */
export async function ownCertificate(
  folder: string,
  names: string[],
): Promise<Certificate & { certFile: string }> {
  const certFile = join(folder, 'manager.crt')
  const keyFile = join(folder, 'manager.key')
  try {
    const found = { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8'), certFile }
    if (isGoodNow(checkPair(found))) return found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const addresses = Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).map(({ address }) => address),
  )
  const reached = [...new Set([...names, hostname(), 'localhost', ...addresses])]
  const made = await generate([{ name: 'commonName', value: 'gleaner manager' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    ...ALWAYS,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      {
        name: 'subjectAltName',
        altNames: reached.map((name) =>
          isIP(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name },
        ),
      },
    ],
  })
  await writeFile(keyFile, made.private, { mode: 0o600 })
  // Last, and whole or not at all: where there is a certificate, there is its key.
  await writeFile(`${certFile}.new`, made.cert, { mode: 0o644 })
  await rename(`${certFile}.new`, certFile)
  return { cert: made.cert, key: made.private, certFile }
}

/** Addresses that stand for all of this machine's, and that cannot be dialled. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** What is damaged is not made anew: pilots in the field trust what it was. */
function checkPair({ cert, key, certFile }: Certificate & { certFile: string }): X509Certificate {
  let reason = 'the key is not that of the certificate'
  try {
    const certificate = new X509Certificate(cert)
    if (certificate.checkPrivateKey(createPrivateKey(key))) return certificate
  } catch (error) {
    reason = (error as Error).message
  }
  throw new CertificateError(
    `${certFile} and manager.key beside it are not a certificate and its key (${reason}): put both back from a backup, or remove both, ` +
      'and new ones are made, with which pilots of before cannot go on',
  )
}

function isGoodNow({ validFromDate, validToDate }: X509Certificate): boolean {
  const now = Date.now()
  return validFromDate.getTime() <= now && now + RENEWAL_MS < validToDate.getTime()
}
