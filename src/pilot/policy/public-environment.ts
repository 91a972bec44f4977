/** Words of a variable's name, between `_`, by which it holds a secret, or names a file with one. */
const SECRET_WORDS =
  /^(\w*(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|APIKEY)S?|PWD|PASS|AUTH|COOKIE|SESSION|JWT|PAT|PROXY)$/
/** As the last word, that is what it is: `AWS_ACCESS_KEY_ID` names a key, `KEY_REPEAT` is about keys. */
const SECRET_ENDS = /(^|_)(KEY|KEY_ID|PRIVATE_KEY_FILE)$/
/** These have one of the words and no secret, or are addresses that may have a password in them. */
const ADDRESSES = /^(HTTP|HTTPS|FTP|ALL|NO)_PROXY$/
const HARMLESS = /^(PWD|OLDPWD|SSH_AUTH_SOCK|XDG_SESSION_\w+|DESKTOP_SESSION)$/

/**
 * The environment for code of tasks: the pilot's without what a site or its user would not show to it. What was set on purpose, by
 * the site's setup, is shown, whatever its name looks like; what is there by accident, from the node or the batch system, only
 * if its name does not look like a secret's. The settings of pilots themselves are for the worker alone.
 *
 * @returns also the names of variables that were left out for what they look like
 */
export function publicEnvironment(env: Readonly<Record<string, string | undefined>>): {
  shown: Record<string, string | undefined>
  leftOut: string[]
} {
  const given = Object.entries(env).filter(([name]) => !name.startsWith('GLEANER_'))
  const onPurpose = new Set(env['GLEANER_SETUP_NAMES']?.split(' '))
  const leftOut = given.filter(([name, value]) => !onPurpose.has(name) && isSecret(name, value ?? ''))
  const hidden = new Set(leftOut.map(([name]) => name))
  return {
    shown: Object.fromEntries(given.filter(([name]) => !hidden.has(name))),
    leftOut: [...hidden].sort(),
  }
}

function isSecret(name: string, value: string): boolean {
  const upper = name.toUpperCase()
  if (ADDRESSES.test(upper)) return value.includes('@')
  if (HARMLESS.test(upper)) return false
  return SECRET_ENDS.test(upper) || upper.split('_').some((word) => SECRET_WORDS.test(word))
}
