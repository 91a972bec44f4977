import type { Command } from 'commander'
import type { SiteOrder } from '../../../protocol/status.ts'
import { count, plural } from '../../views/format.ts'
import { clientFor } from '../../options/common-options.ts'
import { sitesTable } from '../../views/status-view.ts'

/** What each order of a user's is called, what it does, and what is said once it is given. */
const ORDERS: { verb: string; order: SiteOrder; summary: string; description: string; said: string }[] = [
  {
    verb: 'pause',
    order: 'pause',
    summary: 'have a site submit no more pilots',
    description:
      'Has a site submit no more pilots; those that are there stay. It holds until "factory sites resume", also when the factory is ' +
      'started again.',
    said: 'submits no more pilots until "factory sites resume"',
  },
  {
    verb: 'drain',
    order: 'drain',
    summary: 'have a site submit no more pilots, and let those go that are there',
    description:
      'Has a site submit no more pilots, takes those that wait out of its queue, and has those that run finish what they have in hand ' +
      'and leave. It holds until "factory sites resume".',
    said: 'is drained',
  },
  {
    verb: 'resume',
    order: 'work',
    summary: 'have a site that was paused or drained work again',
    description: 'Has a site that was paused or drained keep pilots as its policy says again.',
    said: 'keeps pilots as its policy says',
  },
]

export function define(sites: Command): void {
  const list = async ({ json }: { json?: boolean }, command: Command) => {
    await using client = clientFor(command, { patienceMs: 0 })
    const { sites, now } = await client.status()
    console.log(json ? JSON.stringify(sites, null, 2) : sitesTable(sites, now))
  }
  sites
    .command('list', { isDefault: true })
    .description('list the sites with their pilots')
    .option('--json', 'print them as JSON')
    .action(list)
  for (const { verb, order, summary, description, said } of ORDERS) {
    sites
      .command(verb)
      .summary(summary)
      .description(description)
      .argument('<site>', 'a site of factory.yaml')
      .option('--json', 'print the site as JSON')
      .action(async (name: string, { json }: { json?: boolean }, command: Command) => {
        await using client = clientFor(command, { patienceMs: 0 })
        const site = await client.orderSite(name, order)
        if (json) return console.log(JSON.stringify(site, null, 2))
        console.log(
          `site ${name} ${said}; it has ${plural(site.running, 'pilot')} running, ${count(site.pending)} waiting`,
        )
      })
  }
}
