/** A host as names are looked up and listened at: without the brackets that URLs put around an IPv6 address. */
export const bareHost = (host: string): string => host.replace(/^\[|\]$/g, '')
