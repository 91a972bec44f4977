import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '../../factory/config/config-error.ts'
import { configFiles, loadConfig } from '../../factory/config/load-config.ts'
import type { Config } from '../../factory/config/config.ts'
import { type Finding, findingsOf } from '../policy/finding.ts'

/** Reads the configuration of a state folder; undefined if it cannot be used. */
export async function readConfiguration(
  state: string,
): Promise<{ config: Config | undefined; findings: Finding[] }> {
  const { ok, error, warning } = findingsOf('configuration')
  let config: Config
  try {
    config = loadConfig(configFiles(state))
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown
    return {
      config: undefined,
      findings: [error(thrown.message, 'The factory does not start with it.', adviceOn(thrown.message))],
    }
  }
  const names = config.sites.map(({ name }) => name)
  const findings =
    names.length === 0
      ? [
          error(
            'No site is configured.',
            'The factory has nowhere to run pilots, and does not start.',
            '"factory init" writes a configuration to begin with',
          ),
        ]
      : [ok(`The configuration is good: ${names.length === 1 ? 'site' : 'sites'} ${names.join(', ')}.`)]
  for (const renamed of config.warnings)
    findings.push(warning(renamed, 'The old name works for now.', 'the new name in its place'))
  for (const path of config.contexts) {
    const file = (await stat(path).catch(() => undefined))?.isDirectory() ? join(path, 'context.yaml') : path
    if (!(await stat(file).catch(() => undefined))?.isFile())
      findings.push(
        warning(
          `Context ${path} has no ${file}.`,
          'It is listed, and cannot be registered at the start.',
          `contexts: without ${path}`,
        ),
      )
  }
  return { config, findings }
}

const adviceOn = (message: string) =>
  /: cannot be read:/.test(message) ? 'let this user read that file (chmod, chown)' : 'mend that line'
