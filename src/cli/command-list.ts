import type { Command } from 'commander'

/** A command of `factory`, whose code is read only when it is needed: a person waits, often on a slow login node. */
export interface Entry {
  name: string
  /** What the list of commands says of it. */
  summary: string
  hidden?: boolean
  load: () => Promise<{ define: (command: Command) => void }>
}

/** All commands, in the order in which help lists them. */
export const commandList: Entry[] = [
  {
    name: 'init',
    summary: 'make a state folder with a configuration to begin with',
    load: () => import('./commands/init.ts'),
  },
  { name: 'start', summary: 'start the factory', load: () => import('./commands/start.ts') },
  {
    name: 'run',
    summary: 'run a file of tasks and write their results to another',
    load: () => import('./commands/jobs/run.ts'),
  },
  {
    name: 'status',
    summary: 'show jobs, sites, workers and contexts',
    load: () => import('./commands/status.ts'),
  },
  { name: 'top', summary: 'watch jobs, sites and workers live', load: () => import('./commands/top.ts') },
  {
    name: 'dashboard',
    summary: 'open the dashboard in a browser',
    load: () => import('./commands/dashboard.ts'),
  },
  {
    name: 'reload',
    summary: 'have the factory read factory.yaml again',
    load: () => import('./commands/reload.ts'),
  },
  {
    name: 'stop',
    summary: 'stop the factory and remove its pilots',
    load: () => import('./commands/stop.ts'),
  },
  { name: 'jobs', summary: 'list jobs, or show one', load: () => import('./commands/jobs/jobs.ts') },
  {
    name: 'results',
    summary: 'print the results of a job, or write them to a file',
    load: () => import('./commands/jobs/results.ts'),
  },
  {
    name: 'report',
    summary: 'show how a job went: workers, rates, slot time, evictions, failures',
    load: () => import('./commands/jobs/report.ts'),
  },
  {
    name: 'errors',
    summary: 'show in what ways the tasks of a job failed',
    load: () => import('./commands/jobs/errors.ts'),
  },
  {
    name: 'doctor',
    summary: 'look for what would keep a factory, or a site, from working',
    load: () => import('./commands/sites/doctor.ts'),
  },
  {
    name: 'explain',
    summary: 'say why a job or task is not running or finished, or a site has no more pilots',
    load: () => import('./commands/sites/explain.ts'),
  },
  {
    name: 'sites',
    summary: 'list the sites with their pilots; pause, drain and resume them',
    load: () => import('./commands/sites/sites.ts'),
  },
  { name: 'pilots', summary: 'list the pilots', load: () => import('./commands/pilots/pilots.ts') },
  { name: 'workers', summary: 'list the workers', load: () => import('./commands/pilots/workers.ts') },
  {
    name: 'events',
    summary: 'show what happened: pilots, workers, contexts, jobs, sites',
    load: () => import('./commands/events.ts'),
  },
  {
    name: 'login',
    summary: 'log in at the submit node of a site',
    load: () => import('./commands/sites/login.ts'),
  },
  {
    name: 'logs',
    summary: 'show what a task printed, or the log of a pilot',
    load: () => import('./commands/jobs/logs.ts'),
  },
  {
    name: 'attach',
    summary: 'open a terminal inside a pilot',
    load: () => import('./commands/pilots/attach.ts'),
  },
  {
    name: 'exec',
    summary: 'run one command inside a pilot',
    load: () => import('./commands/pilots/exec.ts'),
  },
  {
    name: 'retry',
    summary: 'run the tasks of a job that failed again',
    load: () => import('./commands/jobs/retry.ts'),
  },
  {
    name: 'cancel',
    summary: 'give up the tasks of a job that have no result yet',
    load: () => import('./commands/jobs/cancel.ts'),
  },
  {
    name: 'forget',
    summary: 'delete a job that has ended, with its results',
    load: () => import('./commands/jobs/forget.ts'),
  },
  {
    name: 'context',
    summary: 'add, list, warm and drop contexts',
    load: () => import('./commands/context.ts'),
  },
  {
    name: 'bundle',
    summary: 'make, list, verify and remove bundles: the files that contexts are made of',
    load: () => import('./commands/bundle.ts'),
  },
  {
    name: 'key',
    summary: 'create, list and revoke keys of the OpenAI API',
    load: () => import('./commands/key.ts'),
  },
  {
    name: 'backup',
    summary: 'copy the ledger to a file, while the factory runs',
    load: () => import('./commands/backup.ts'),
  },
  {
    name: 'submit',
    summary: 'show what the factory would submit at a site',
    load: () => import('./commands/sites/submit.ts'),
  },
  {
    name: 'relay',
    summary: 'carry pilots’ connections to a manager that they cannot reach',
    load: () => import('./commands/pilots/relay.ts'),
  },
  {
    name: 'python',
    summary: "print where Python's package is, for pip",
    load: () => import('./commands/python.ts'),
  },
  {
    name: 'config',
    summary: 'check and show the configuration, or print its schema',
    load: () => import('./commands/shell/config.ts'),
  },
  {
    name: 'completion',
    summary: 'print what has a shell complete the words of factory',
    load: () => import('./commands/shell/completion.ts'),
  },
  {
    name: 'complete',
    summary: 'print the words that may come next',
    hidden: true,
    load: () => import('./commands/shell/complete.ts'),
  },
]
