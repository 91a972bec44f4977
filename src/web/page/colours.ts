/** How many hues there are in the style sheet. */
const HUES = 8

/** Gives each name a colour of its own, the same as long as the page is open. */
export function colours(): (name: string) => string {
  const given = new Map<string, number>()
  return (name) => {
    if (!given.has(name)) given.set(name, given.size % HUES)
    return `var(--hue-${given.get(name)!})`
  }
}

/** A colour of the style sheet as a canvas takes it: as it is in the theme of now. */
export function resolveColour(holder: HTMLElement, colour: string): string {
  const probe = document.createElement('span')
  probe.style.color = colour
  holder.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

/** Calls back when the theme changes, until what it returns is called. */
export function onThemeChange(changed: () => void): () => void {
  const theme = matchMedia('(prefers-color-scheme: dark)')
  theme.addEventListener('change', changed)
  return () => theme.removeEventListener('change', changed)
}
