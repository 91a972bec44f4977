import { errorCodes } from '../../src/protocol/error-codes.ts'

/** docs/errors.md: a section for each code, so that a link leads to it. */
export function errorsPage(): string {
  const sections = Object.entries(errorCodes).map(
    ([code, { cause, remedy }]) => `## ${code}\n\n${cause}\n\n**What to do:** ${remedy}\n`,
  )
  return `# Errors by code

Every error of a command ends with its code in brackets; errors of the TypeScript and Python clients have it as \`code\`, and the
manager's answers as \`error.code\`. Codes are stable: programs may compare them. The message says what happened in the case at hand; this
page says what the code means in general. Pilots end with exit codes of their own, which \`factory status\` puts into words; those
are in [Slurm and HTCondor](slurm-and-htcondor.md).

This page is written by \`npm run docs\` from [src/protocol/error-codes.ts](../src/protocol/error-codes.ts).

${sections.join('\n')}`
}
