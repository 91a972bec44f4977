import type { Command } from 'commander'
import { openRecords } from '../records.ts'
import { jobsTable } from '../status-view.ts'

export function addJobs(program: Command): void {
  program
    .command('jobs')
    .summary('list jobs')
    .description('Lists jobs, from the factory or, while none runs, from what it has left on record.')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await using records = await openRecords(command)
      const jobs = await records.jobs()
      console.log(json ? JSON.stringify(jobs, null, 2) : jobsTable(jobs))
    })
}
