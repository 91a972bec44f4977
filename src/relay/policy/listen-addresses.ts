/** An address of a machine, as the system lists it. */
export interface OwnAddress {
  address: string
  family: string
  /** Of loopback. */
  internal: boolean
}

/** Networks that are not routed on the internet (RFC 1918, RFC 6598, RFC 4193). */
const PRIVATE =
  /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd][\da-f]{2}:)/i
/** Bridges of container engines: every node has one with the same addresses. */
const CONTAINERS = /^172\.1[78]\.0\.1$/
const LINK_LOCAL = /^(169\.254\.|fe80:)/i

/**
 * Where a relay on a login node listens: at the addresses of the cluster's own network. These are the private ones, but for that by which
 * the factory came in; a machine without such listens at all that it has, and one without any network at loopback.
 * @param cameTo the address that the factory's SSH connection came to
 */
export function listenAddresses(own: readonly OwnAddress[], cameTo: string | undefined): string[] {
  const outer = own.filter(({ internal, address }) => !internal && !LINK_LOCAL.test(address))
  const all = outer.map(({ address }) => address)
  const inner = all.filter((address) => PRIVATE.test(address) && !CONTAINERS.test(address))
  const others = inner.filter((address) => address !== cameTo)
  const [found = ['127.0.0.1']] = [others, inner, all].filter((addresses) => addresses.length > 0)
  return found
}
