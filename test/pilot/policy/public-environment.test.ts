import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { publicEnvironment } from '../../../src/pilot/policy/public-environment.ts'

const secrets = [
  'HF_TOKEN',
  'GITHUBTOKEN',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_ACCESS_KEY_ID',
  'OPENAI_API_KEY',
  'DB_PASSWORD',
  'PGPASSWORD',
  'MYSQL_PWD',
  'GOOGLE_APPLICATION_CREDENTIALS',
  'X509_USER_PROXY',
  'api_token',
]
const settings = [
  'PATH',
  'LD_LIBRARY_PATH',
  'PWD',
  'TOKENIZERS_PARALLELISM',
  'NO_PROXY',
  'KEYBOARD',
  'XDG_SESSION_ID',
  'PYTORCH_CUDA_ALLOC_CONF',
]
const all = (names: string[]) => Object.fromEntries(names.map((name) => [name, 'x']))

describe('the environment of libraries', () => {
  test('has all of the pilot but what looks like a secret by whole words of its name, and the settings of pilots', () => {
    const { shown, leftOut } = publicEnvironment({
      ...all(secrets),
      ...all(settings),
      GLEANER_TOKEN_FILE: 'x',
      GLEANER_CACHE: 'x',
    })
    assert.deepEqual(Object.keys(shown).sort(), settings.toSorted())
    assert.deepEqual(leftOut, secrets.toSorted())
  })

  test('has what setup has set on purpose, whatever its name, but for the settings of pilots', () => {
    const { shown, leftOut } = publicEnvironment({
      ...all(secrets),
      GLEANER_TOKEN_FILE: 'x',
      GLEANER_SETUP_NAMES: 'HF_TOKEN OTHER GLEANER_TOKEN_FILE ',
    })
    assert.deepEqual(shown, { HF_TOKEN: 'x' })
    assert.equal(leftOut.length, secrets.length - 1)
  })

  test('has the addresses of proxies, but for those with a password in them', () => {
    const { shown, leftOut } = publicEnvironment({
      https_proxy: 'http://user:password@proxy:3128',
      http_proxy: 'http://proxy:3128',
      no_proxy: 'localhost',
    })
    assert.deepEqual(Object.keys(shown), ['http_proxy', 'no_proxy'])
    assert.deepEqual(leftOut, ['https_proxy'])
  })
})
