import { chromium, type Browser } from 'playwright-core'

/** Debian's Chromium, headless. It has no sandbox for root, as whom containers run tests. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    chromiumSandbox: process.getuid?.() !== 0,
  })
}
