/* The part of proxy-from-env that is used here: it brings no types. */
declare module 'proxy-from-env' {
  /** The proxy that the environment's variables name for a URL (`http_proxy`, `all_proxy`, `no_proxy`, …); an empty string for none. */
  export function getProxyForUrl(url: string): string
}
