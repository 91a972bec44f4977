import js from '@eslint/js'
import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

/**
 * Which rooms of `src/` each room may import. Arrows point one way: decisions (`core`) and formats (`protocol`)
 * know nothing of the shells around them, and a pilot knows nothing of the manager that sent it.
 */
const rooms = {
  protocol: [],
  core: ['protocol'],
  bundle: ['protocol'],
  library: ['protocol'],
  pilot: ['bundle', 'library', 'protocol'],
  client: ['bundle', 'protocol'],
  manager: ['core', 'bundle', 'protocol'],
  factory: ['core', 'bundle', 'protocol'],
  cli: ['manager', 'factory', 'client', 'core', 'bundle', 'protocol'],
}

const pure = ['core', 'protocol']

const arrows = Object.entries(rooms).map(([room, allowed]) => {
  const others = Object.keys(rooms).filter((other) => other !== room && !allowed.includes(other))
  return {
    files: [`src/${room}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: others.flatMap((other) => [`**/${other}/**`]),
              message: `${room}/ may import only ${allowed.join(', ') || 'nothing of ours'}`,
            },
            ...(pure.includes(room) ? [{ group: ['node:*'], message: `${room}/ does no I/O` }] : []),
          ],
        },
      ],
    },
  }
})

export default defineConfig(
  globalIgnores(['dist/', 'node_modules/', 'test/fixtures/']),
  js.configs.recommended,
  tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // `typeof import('./model.ts')` is how an application names the type of its module.
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: ['src/core/**/*.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        'Date',
        'performance',
        'setTimeout',
        'setInterval',
        'process',
        'crypto',
        'fetch',
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'core/ is deterministic' },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    // node:test's describe/it return promises the runner itself awaits.
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            {
              from: 'package',
              package: 'node:test',
              name: ['test', 'it', 'describe', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
            },
          ],
        },
      ],
    },
  },
  ...arrows,
  {
    files: ['**/*.js'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { globals: { console: 'readonly', process: 'readonly', URL: 'readonly' } },
  },
)
