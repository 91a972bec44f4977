import { existsSync } from 'node:fs'
import type { WriteStream } from 'node:tty'
import type { Command } from 'commander'
import { GleanerError, InputError } from '../../../client/errors.ts'
import { configFiles, loadConfig } from '../../../factory/config/load-config.ts'
import {
  type ControlSocket,
  controlSocket,
  endLogin,
  isLoggedIn,
  loginCommand,
} from '../../../factory/transports/ssh/control-socket.ts'
import { stateOf } from '../../options/common-options.ts'
import { printJson, type JsonOption } from '../../json-output/print-json.ts'

interface Options extends JsonOption {
  host?: string
  again?: boolean
  end?: boolean
}

/** How long a login stays when neither the factory nor anything else has used it. */
const IDLE = '4h'

export function define(command: Command): void {
  command
    .description(
      'Logs in at the submit node of a site that is reached over SSH, with your own OpenSSH client: answer there what it asks, such as a ' +
        'password and a second factor. The factory goes on over this connection until it ends; it keeps nothing of what you answer.',
    )
    .argument('<site>', 'name of a site in factory.yaml')
    .option('--host <host>', 'which of its submit nodes, where it has several')
    .option('--again', 'end a login that is there, and log in anew')
    .option('--end', 'end the login')
    .option('--json', 'print how it stands as JSON; what ssh asks is on standard error then')
    .action(login)
}

async function login(site: string, { host, again, end, json }: Options, command: Command): Promise<void> {
  const state = stateOf(command)
  const control = controlOf(state, site, host)
  const tell = (loggedIn: boolean, text: string) =>
    json ? printJson('factory login', { site, host: control.target, loggedIn }) : console.log(text)
  if (end) {
    await endLogin(control)
    return tell(false, `there is no login at ${control.target} any more`)
  }
  if (!again && (await isLoggedIn(control)))
    return tell(true, `there is a login at ${control.target} already: --again logs in anew`)
  await endLogin(control)
  const code = await atTerminal(loginCommand(control, IDLE), json ? process.stderr : process.stdout)
  if (code !== 0 || !existsSync(control.socket) || !(await isLoggedIn(control)))
    throw new GleanerError(`there is no login at ${control.target}: ssh has ended with ${code}`)
  tell(true, `logged in at ${control.target}: the factory goes on over this connection`)
}

function controlOf(state: string, name: string, host: string | undefined): ControlSocket {
  const { sites } = loadConfig(configFiles(state))
  const site = sites.find((one) => one.name === name)
  if (!site)
    throw new InputError(
      `there is no site ${name}: factory.yaml has ${sites.map((one) => one.name).join(', ') || 'none'}`,
    )
  const transport = 'transport' in site ? site.transport : undefined
  if (!transport) throw new InputError(`site ${name} is on this machine: it has no transport: {ssh: HOST}`)
  const targets = [transport.ssh].flat()
  const target = host ?? targets[0]!
  if (!targets.includes(target))
    throw new InputError(`site ${name} has no submit node ${target}: it has ${targets.join(', ')}`)
  return controlSocket(state, target, transport.config)
}

/** Runs a command as if in this terminal. @returns its exit code */
async function atTerminal([file = '', ...args]: string[], stdout: WriteStream): Promise<number> {
  // Loaded here: it brings a binary along.
  const { spawn } = await import('node-pty')
  const { stdin, env } = process
  const size = () => ({ cols: stdout.columns || 80, rows: stdout.rows || 24 })
  const options = { name: env['TERM'] ?? 'xterm', ...size(), cwd: process.cwd(), env, encoding: null }
  const terminal = spawn(file, args, options)
  const type = (keys: Buffer) => void terminal._socket.write(keys)
  const resize = () => terminal.resize(size().cols, size().rows)
  const decoder = new TextDecoder()
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on('data', type)
  stdout.on('resize', resize)
  terminal.onData((bytes) => stdout.write(decoder.decode(bytes, { stream: true })))
  return await new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode))).finally(
    () => {
      stdin.off('data', type).pause()
      stdout.off('resize', resize)
      if (stdin.isTTY) stdin.setRawMode(false)
    },
  )
}
