import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { ConfigFile, type LocalSiteConfig, resolveConfig } from '../../../src/factory/config/config.ts'
import { localSite } from '../../../src/factory/sites/local.ts'
import { type SiteHarness, markingWorker, siteSuite } from './site-suite.ts'
import { tinyRuntime } from '../support/tiny-runtime.ts'

let harness: SiteHarness
let root: string

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'gleaner-local-'))
  const marks = join(root, 'marks')
  mkdirSync(marks)
  const file = { kind: 'local', cacheFolder: join(root, 'cache'), sharedFolder: marks, grace: 5 }
  const config = resolveConfig(ConfigFile.parse({ sites: { here: file } })).sites[0] as LocalSiteConfig
  const siteFolder = join(root, 'submissions')
  const open = () => localSite(config, siteFolder, () => {})
  harness = {
    config,
    open,
    siteFolder,
    marks,
    patience: 10,
    boot: { managerUrl: 'http://127.0.0.1:9', runtime: await tinyRuntime(root, markingWorker) },
    refused: () => ({
      ...open(),
      submit: (submission, signal) => open().submit({ ...submission, folder: '/nowhere' }, signal),
    }),
  }
})
after(() => rmSync(root, { recursive: true }))

siteSuite('local', () => harness)
