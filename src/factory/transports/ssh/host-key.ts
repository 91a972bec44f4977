import { readFileSync } from 'node:fs'
import { NotStartedError } from '../transport.ts'
import type { HostSettings } from './host-settings.ts'
import {
  type KnownHost,
  fingerprint,
  judgeKey,
  keyType,
  knownName,
  linesAbout,
  parseKnownHosts,
} from './known-hosts.ts'

/** What the files of known hosts say of a host. */
export type KnownAbout = { name: string; lines: KnownHost[] }

export function readKnownHosts({ host, port, keyAlias, knownHosts }: HostSettings): KnownAbout {
  const name = keyAlias ?? knownName(host, port)
  const lines = knownHosts.flatMap((file) => parseKnownHosts(read(file), file))
  return { name, lines: linesAbout(name, lines) }
}

/** What is wrong with the key that a host has shown, and what to do; undefined if it is the known one. */
export function checkKey(
  { alias, knownHosts }: HostSettings,
  { name, lines }: KnownAbout,
  key: Buffer,
): NotStartedError | undefined {
  const verdict = judgeKey(lines, key)
  const shown = `${keyType(key)} ${fingerprint(key)}`
  switch (verdict.is) {
    case 'known':
      return undefined
    case 'revoked':
      return new NotStartedError(
        `the key of ${alias} (${shown}) is revoked at ${verdict.at}: ask its administrators`,
      )
    case 'changed':
      return new NotStartedError(
        `the key of ${alias} has changed: it shows ${shown}, and ${verdict.at} has another. Either the host was set up anew, or ` +
          `it is not the host: ask its administrators. If the new key is right: ssh-keygen -R '${name}', and ssh ${alias} once`,
      )
    case 'authority':
      return new NotStartedError(
        `${alias} is known by the authority at ${verdict.at} only, and certificates of hosts are read by OpenSSH alone: ` +
          `use "factory login", or have its key (${shown}) in ${knownHosts[0]}`,
      )
    case 'unknown':
      return new NotStartedError(
        `the key of ${alias} (${shown}) is not known: compare it with what its administrators publish, and ssh ${alias} once, ` +
          `which puts it into ${knownHosts[0]}`,
      )
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // Most of them are not there.
    return ''
  }
}
