/** The header that carries the page's half of a session. */
export const KEY_HEADER = 'x-gleaner-key'
