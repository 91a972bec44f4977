import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe } from 'node:test'
import { openTransports, type Transports } from '../../../../src/factory/transports/open-transports.ts'
import type { Transport } from '../../../../src/factory/transports/transport.ts'
import { describeTransport } from '../transport-suite.ts'
import { bareSystem } from './minimal-unix.ts'
import { batchSiteAt } from './ssh-site.ts'
import { noSshd, type Sshd, type SshdPlace, startSshd } from './sshd.ts'

/** Submit nodes as they are found, each with what is odd about it. */
const nodes: {
  name: string
  settings: (folder: string) => string[]
  place?: SshdPlace
  skip: string | false
}[] = [
  { name: 'over SSH', settings: () => [], skip: noSshd },
  {
    name: 'over SSH to a server of 2010 on a bare system, without SFTP',
    settings: (folder) => [
      bareSystem(folder),
      'KexAlgorithms diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha1',
      'HostKeyAlgorithms ssh-rsa',
      'Ciphers aes128-ctr,aes128-cbc',
      'MACs hmac-sha1',
      'Subsystem sftp /bin/false',
    ],
    place: { keyType: 'rsa' },
    skip: noSshd,
  },
  {
    name: 'over SSH to fish, one session at a time',
    settings: () => ['MaxSessions 1', loginShell('/usr/bin/fish')],
    skip: noSshd || missing('/usr/bin/fish'),
  },
  {
    name: 'over SSH to a C shell that greets',
    settings: () => [loginShell('/bin/tcsh', 'echo Welcome to login1; echo quota: 95 percent >&2;')],
    skip: noSshd || missing('/bin/tcsh'),
  },
]

/** As if it were the user's: what it gets is what the client has sent. */
function loginShell(shell: string, first = ''): string {
  return `ForceCommand ${first} exec ${shell} -c "$SSH_ORIGINAL_COMMAND"`
}

function missing(file: string): string | false {
  return existsSync(file) ? false : `${file} is not installed`
}

for (const { name, settings, place, skip } of nodes) {
  describe(`a submit node ${name}`, { skip }, () => {
    let sshd: Sshd
    let transports: Transports
    let transport: Transport
    let folder: string
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'gleaner-ssh-'))
      sshd = await startSshd(settings(folder), [], place)
      transports = openTransports(folder)
      transport = transports.of(batchSiteAt(sshd, folder), [], 'f')
    })
    after(async () => {
      transports[Symbol.dispose]()
      await sshd[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true })
    })
    describeTransport(name, () => ({ transport, folder }))
  })
}
