/** What of a request's headers says where it comes from. */
export interface Provenance {
  host?: string | undefined
  origin?: string | undefined
  'sec-fetch-site'?: string | string[] | undefined
}

/**
 * Whether a request comes from a page of this very server. Browsers that say so (`Sec-Fetch-Site`) are believed: pages cannot
 * set that header. With the others, the host of the page must be the one that was asked.
 */
export function isSameOrigin(headers: Provenance): boolean {
  const { host, origin } = headers
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin'
  if (origin === undefined || host === undefined) return false
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase()
}
