import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { RequestError } from '../../manager/http/api-errors.ts'
import { PAGE_FILES, buildPage, type PageFile } from './build-page.ts'

/** One file of the page as it is sent. */
export interface Asset {
  type: string
  plain: Buffer
  packed: Buffer
  /** Changes with its bytes. */
  etag: string
}

const TYPES: Record<PageFile, string> = {
  'index.html': 'text/html; charset=utf-8',
  'main.js': 'text/javascript; charset=utf-8',
  'main.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
}

/** Where the page was built to, or its sources. */
const FOLDER = join(import.meta.dirname, '../page')
const IS_BUILT = import.meta.url.endsWith('.js')

/** The files of the page: as they were built with the package, or else built now. */
export async function loadAssets(): Promise<Map<string, Asset>> {
  const files = IS_BUILT ? await readBuilt() : await buildNow()
  return new Map(PAGE_FILES.map((name) => [name, toAsset(TYPES[name], files[name])]))
}

async function readBuilt(): Promise<Record<PageFile, Uint8Array>> {
  const read = PAGE_FILES.map(async (name) => [name, await readFile(join(FOLDER, name))])
  return Object.fromEntries(await Promise.all(read)) as Record<PageFile, Uint8Array>
}

async function buildNow(): Promise<Record<PageFile, Uint8Array>> {
  return await buildPage(FOLDER).catch((error: unknown) => {
    const why = (error as Error).message.split('\n', 1)[0]
    throw new RequestError(
      503,
      'GLEANER_INTERNAL',
      `the dashboard cannot be built: ${why}; run "npm ci" in the checkout`,
    )
  })
}

function toAsset(type: string, bytes: Uint8Array): Asset {
  const etag = `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`
  return { type, plain: Buffer.from(bytes), packed: gzipSync(bytes, { level: 9 }), etag }
}

/** Whether the browser takes what is packed. */
export const acceptsGzip = (headers: IncomingHttpHeaders): boolean =>
  /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))/.test(String(headers['accept-encoding'] ?? ''))
