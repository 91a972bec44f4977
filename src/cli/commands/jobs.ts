import type { Command } from 'commander'
import { clientFor } from '../options.ts'
import { jobsTable } from '../status-view.ts'

export function addJobs(program: Command): void {
  program
    .command('jobs')
    .description('list jobs')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const jobs = await client.jobs()
      console.log(json ? JSON.stringify(jobs, null, 2) : jobsTable(jobs))
    })
}
