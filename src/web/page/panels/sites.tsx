import { pilotsReason } from '../../../common/plain/pilots-reason.ts'
import { count, duration, plural } from '../../../common/plain/quantity-text.ts'
import type { SiteOrder, SiteStatus } from '../../../protocol/status.ts'
import type { View } from '../../view.ts'
import type { Propose } from './actions.tsx'

export function Sites({ view, propose }: { view: View; propose: Propose }) {
  const sites = Object.values(view.sites)
  return (
    <section aria-labelledby="sites">
      <h2 id="sites">Sites</h2>
      {sites.length === 0 && <p class="dim">None is configured.</p>}
      {sites.length > 0 && (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Site</th>
                <th scope="col" class="wide">
                  Policy
                </th>
                <th scope="col" class="number wide" title="how many pilots the policy would like to have">
                  Wanted
                </th>
                <th scope="col" class="number wide" title="most pilots at a time">
                  Limit
                </th>
                <th scope="col" class="number">
                  Pending
                </th>
                <th scope="col" class="number">
                  Running
                </th>
                <th scope="col" class="number">
                  Held
                </th>
                <td />
              </tr>
            </thead>
            <tbody>
              {sites.map((site) => (
                <SiteRow key={site.name} site={site} now={view.now} propose={propose} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

function SiteRow({ site, now, propose }: { site: SiteStatus; now: number; propose: Propose }) {
  const { name, kind, policy, wanted, max, pending, running, held } = site
  const reasons = reasonsOf(site, now)
  return (
    <>
      <tr data-site={name}>
        <th scope="row">
          {name} <span class="dim">{kind}</span>
        </th>
        <td class="wide">{policy}</td>
        <td class="number wide">{count(wanted)}</td>
        <td class="number wide">{count(max)}</td>
        <td class="number">{count(pending)}</td>
        <td class="number">{count(running)}</td>
        <td class="number">{held > 0 ? <span class="bad">{count(held)}</span> : '0'}</td>
        <td class="buttons">{propose && <SiteButtons site={site} propose={propose} />}</td>
      </tr>
      {reasons.length > 0 && (
        <tr class="why">
          <td colSpan={8}>
            {reasons.map((text, i) => (
              <p key={i}>{text}</p>
            ))}
          </td>
        </tr>
      )}
    </>
  )
}

function SiteButtons({
  site: { name, order, pending, running },
  propose,
}: {
  site: SiteStatus
  propose: NonNullable<Propose>
}) {
  const give = (to: SiteOrder, title: string, text: string, label: string, done: string) => () =>
    propose({ title, text, label, done, path: `sites/${name}/${to}` })
  const pause = give(
    'pause',
    `Pause site ${name}?`,
    'It submits no more pilots until it is resumed. Those that are there go on.',
    'Pause the site',
    `Site ${name} submits no more pilots.`,
  )
  const drain = give(
    'drain',
    `Drain site ${name}?`,
    `${plural(pending, 'waiting pilot')} will be removed, and ${count(running)} running ones finish what they have in hand and leave.`,
    'Drain the site',
    `The pilots of site ${name} leave.`,
  )
  const resume = give(
    'work',
    `Resume site ${name}?`,
    'It submits pilots again, as its policy says.',
    'Resume the site',
    `Site ${name} works again.`,
  )
  return (
    <>
      {order !== 'work' && <Button does="Resume" site={name} onClick={resume} />}
      {order === 'work' && <Button does="Pause" site={name} onClick={pause} />}
      {order !== 'drain' && <Button does="Drain" site={name} onClick={drain} />}
    </>
  )
}

const Button = ({ does, site, onClick }: { does: string; site: string; onClick: () => void }) => (
  <button type="button" aria-label={`${does} site ${site}`} onClick={onClick}>
    {does}
  </button>
)

/** Why it has not the pilots it wants, as far as is known. */
function reasonsOf(
  { order, paused, retryAt, lastFailure, warnings, reasons }: SiteStatus,
  now: number,
): string[] {
  const next = retryAt === undefined || retryAt <= now ? '' : `, next try in ${duration(retryAt - now)}`
  return [
    ...(paused === undefined ? [] : [order === 'work' ? `paused${next}: ${paused}` : paused]),
    ...(lastFailure === undefined ? [] : [`last failure: ${lastFailure}`]),
    ...(warnings ?? []),
    ...reasons.map(pilotsReason),
  ]
}
