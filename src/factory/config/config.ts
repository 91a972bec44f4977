import { z } from 'zod'
import { bareHost } from '../../common/plain/bare-host.ts'
import { managerDefaults } from '../../core/manager-defaults.ts'
import { Name } from '../../protocol/primitives.ts'
import { ContextMode } from '../../protocol/contexts/context.ts'
import { EVENT_TYPES } from '../../protocol/events.ts'
import { RelayAddress } from '../../protocol/relay.ts'
import { Duration, Rate, Size, Wait } from './quantities.ts'

/** A value that ends up in one line of a job file. */
const Line = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\r\n\0]*$/, 'must be a single line')
/** Batch systems' own names: partitions, accounts and the like. */
const Words = z
  .string()
  .max(1000)
  .regex(/^[\w@%+=:,./&|*()[\]-]+$/, 'must have no blanks or quotes')

/** A relay that the factory starts on a submit node. */
const StartedRelay = z.strictObject({
  /** The submit node's address or name in the cluster's network. Default: its private addresses. */
  address: z
    .string()
    .regex(/^[\w.:-]{1,255}$/, 'expected an address or a name')
    .optional(),
  /** Default: a free one at first, and the same again. */
  port: z.int().min(1).max(65_535).optional(),
  /** Most disk that files of contexts may take on the submit node. */
  cache: Size.optional(),
})

/**
 * `HOST:PORT` of a relay that runs (`factory relay`); or `true`, or settings of it, to have the factory start one on the submit node
 * that it reaches over SSH.
 */
const Relay = z.union(
  [
    RelayAddress,
    // All as it is by default.
    z.literal(true).transform((): z.infer<typeof StartedRelay> => ({})),
    StartedRelay,
  ],
  'expected HOST:PORT of a relay that runs, or true for one that the factory starts',
)

/** What every kind of site has. */
const site = {
  /** Set to false to leave out a site that another layer defines. */
  enabled: z.boolean().default(true),
  /**
   * How many pilots it should have while there is work:
   * `fixed`: `count`; `demand`: as many as finish the backlog within `finishWithin`, by measured speed;
   * `opportunistic`: as many as it gets, by always keeping `pending` of them waiting in the queue.
   */
  policy: z.enum(['fixed', 'demand', 'opportunistic']).default('fixed'),
  count: z.int().min(0).max(100_000).default(1),
  pending: z.int().min(1).max(10_000).default(2),
  finishWithin: Duration.default(600),
  /** Fewest pilots that `demand` asks for while there is work. */
  min: z.int().min(0).max(100_000).default(1),
  /** Most pilots in the queue at once, in whatever state. Default: `count` for `fixed`; needed for the others. */
  max: z.int().min(0).max(100_000).optional(),
  /** Of each pilot. */
  cpus: z.int().min(1).max(4096).default(1),
  gpus: z.int().min(0).max(64).default(0),
  /** GPUs of each slot of a pilot, for libraries that use several at once. */
  gpusPerSlot: z.int().min(1).max(64).default(1),
  /** Slots that share each GPU, for models that leave most of it idle. */
  slotsPerGpu: z.int().min(1).max(64).default(1),
  /** 0: all that the node has; `none`: what the batch system gives by itself. Both are asked for as such. */
  memory: z.union([z.literal('none'), Size]).default(2048),
  disk: Size.optional(),
  walltime: Duration.optional(),
  /** Warning the batch system gives between SIGTERM and SIGKILL. */
  grace: Wait.default(10),
  /** How long its pilots wait for a manager that they do not reach: they keep their results meanwhile, and leave then. */
  patience: Wait.default(600),
  /**
   * Variables for the batch system's commands, e.g. `SLURM_CONF`; of the factory's own environment they get only what they
   * need to be found and to work.
   */
  commandEnvironment: z
    .record(z.string().regex(/^[A-Za-z_]\w*$/, 'not a name of a variable'), z.string().max(4096))
    .default({}),
  /**
   * Shell lines run on the node before the worker starts, e.g. `module load cuda`. In bash, the first of them that fails is
   * the pilot's end, as with `set -e`; in other shells, the last.
   */
  setup: z.string().max(65_536).default(''),
  /** The shell for them, of Bourne's family, with its options, e.g. `bash --login`. Default: bash, or sh on nodes without. */
  setupShell: z
    .string()
    .max(1000)
    .regex(/^[\w./+-]+( [\w./+-]+)*$/, 'must be a program and its options, e.g. bash --login')
    .refine((shell) => !/^\S*(csh|fish)( |$)/.test(shell), 'must be a shell like bash, ksh, zsh or sh')
    .optional(),
  /** Node-local folder for contexts that outlive a pilot; `$NAME` is expanded on the node. Default: below /tmp. */
  cacheFolder: Line.optional(),
  /** Folder all nodes see, where workers also look for bundles; `$NAME` is expanded on the node. */
  sharedFolder: Line.optional(),
  /** What stands between its pilots and the manager where they cannot reach it. */
  relay: Relay.optional(),
  /** Most bytes a second that go to the site over SSH: to its relay, and the runtime. */
  bandwidth: Rate.optional(),
  /** Whether users may open terminals in its pilots and run commands there (`factory attach`, `factory exec`). */
  shell: z.boolean().default(false),
  /** Your own submit template, in place of the one that comes with Gleaner. */
  template: Line.optional(),
  /** Submissions a minute, each of up to `submitSize` pilots. */
  submitRate: z.number().positive().max(6000).default(12),
  submitSize: z.int().min(1).max(1000).default(100),
  /** How often the queue is looked at. */
  poll: Wait.default(15),
  /** Waiting pilots are taken out of the queue after this long without work. */
  linger: Duration.default(60),
  /** Held pilots are removed after this long. Default: they stay, and count, until they are released or removed. */
  removeHeldAfter: Duration.optional(),
}

/** Options that make a submission what the factory needs; each with what to set instead. */
const RESERVED: Record<string, string> = {
  'job-name': 'use jobName',
  chdir: 'pilots run in the folder of their submission',
  output: 'the log of a pilot is where "factory logs" looks for it',
  array: 'use submitSize: 1 to have no arrays',
  executable: 'what runs is pilot.sh',
  arguments: 'they name the pilot',
  transfer_input_files: 'they are what a pilot boots from',
  log: 'it is beside the logs of the pilots',
}

/**
 * Options of the job file by their names, such as `mem-per-cpu` or `request_disk`: in place of the default line of that
 * name, or beside the others. `none` removes a default line, `true` sets an option without a value.
 */
const options = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z][\w-]*$/, 'not a name of an option')
      .superRefine((name, context) => {
        const advice = RESERVED[name.toLowerCase()]
        if (advice !== undefined)
          context.addIssue({ code: 'custom', message: `cannot be replaced: ${advice}` })
      }),
    z.union([Line, z.number(), z.literal(true)]),
  )
  .default({})
/** `[USER@]HOST[:PORT]`, where HOST may be an alias of ssh_config. A dash in front would be an option. */
const SshTarget = z
  .string()
  .max(500)
  .regex(
    /^([^\s@-][^\s@]*@)?(\[[\da-fA-F:.]+\]|[^\s@:[\]-][^\s@:[\]]*)(:\d{1,5})?$/,
    'expected [USER@]HOST[:PORT]',
  )

/** How a batch system's commands and files are reached. Default: on this machine. */
const transport = z
  .strictObject({
    /** The submit node; or several that stand for each other, of which another is tried when one does not answer. */
    ssh: z.union([SshTarget, z.array(SshTarget).min(1).max(64)]),
    /** In place of `~/.ssh/config` and `/etc/ssh/ssh_config`. */
    config: Line.optional(),
    /** Folder on the submit node for submissions and the runtime; nodes of Slurm must see it. `$NAME` is expanded there. */
    folder: Line.default('~/.gleaner-remote'),
    /** Only over a connection that a person has opened by `factory login`. */
    login: z.boolean().default(false),
  })
  .optional()

/** What the names of jobs begin with. */
const jobName = z
  .string()
  .regex(/^[A-Za-z][\w.-]{0,63}$/, 'must be letters, digits, dots and dashes, and begin with a letter')
  .default('gleaner')

const local = z.strictObject({
  ...site,
  kind: z.literal('local'),
  poll: Wait.default(2),
  submitRate: site.submitRate.default(120),
})

const htcondor = z.strictObject({
  ...site,
  kind: z.literal('htcondor'),
  /** The user whose the jobs are in the queue, where that is not the name of the account that submits them. */
  owner: Words.optional(),
  /** ClassAd expressions. */
  requirements: Line.optional(),
  rank: Line.optional(),
  concurrencyLimits: Words.optional(),
  /** ClassAd attributes of each job, by name, as ClassAd expressions (strings need their own quotes). */
  attributes: z.record(z.string().regex(/^[A-Za-z_]\w*$/, 'not a ClassAd attribute name'), Line).default({}),
  options,
  jobName,
  transport,
  /** Lines for the submit file, as they are. */
  extraLines: z.array(Line).default([]),
})

const slurm = z.strictObject({
  ...site,
  kind: z.literal('slurm'),
  partition: Words.optional(),
  account: Words.optional(),
  qos: Words.optional(),
  constraint: Words.optional(),
  reservation: Words.optional(),
  /** Whether Slurm may start a pilot again after it was preempted or its node failed. */
  requeue: z.boolean().default(true),
  options,
  jobName,
  transport,
  /** Lines for the job script, as they are, e.g. `#SBATCH --exclusive`. */
  extraLines: z.array(Line).default([]),
})

const pbs = z.strictObject({
  ...site,
  kind: z.literal('pbs'),
  transport,
  queue: Words.optional(),
  account: Words.optional(),
  project: Words.optional(),
  options,
  jobName,
  /** Lines for the job script, as they are, e.g. `#PBS -W umask=077`. */
  extraLines: z.array(Line).default([]),
})

export const siteSchemas = { local, htcondor, slurm, pbs }

/** A site's settings for its template: those that are not set are empty, so that only a misspelt one is unknown. */
export function templateVariables(config: SiteConfig): Record<string, unknown> {
  const unset = Object.keys(siteSchemas[config.kind].shape).map((key) => [key, ''])
  const set = Object.entries(config).filter(([, value]) => value !== undefined)
  return { ...Object.fromEntries(unset), ...Object.fromEntries(set) } as Record<string, unknown>
}

const needsMax = (config: { policy: string; max?: number | undefined }) =>
  config.policy === 'fixed' || config.max !== undefined

type Reached = {
  relay?: z.infer<typeof Relay> | undefined
  bandwidth?: number | undefined
  transport?: object | undefined
}
const isOverSsh = (config: Reached) => 'transport' in config && config.transport !== undefined

/** One site as factory.yaml has it. Memory and disk in MiB, times in seconds. */
const SiteFile = z
  .discriminatedUnion('kind', [local, htcondor, slurm, pbs], {
    error: ({ code }) => (code === 'invalid_union' ? 'expected local, htcondor, slurm or pbs' : undefined),
  })
  .refine(needsMax, { path: ['max'], message: 'this policy needs a max: the most pilots it may have' })
  .refine(({ gpus, gpusPerSlot }) => gpus % gpusPerSlot === 0 && (gpus > 0 || gpusPerSlot === 1), {
    path: ['gpusPerSlot'],
    message: 'gpus must be a multiple of it: pilots divide their GPUs into slots',
  })
  .refine(({ gpus, gpusPerSlot, slotsPerGpu }) => slotsPerGpu === 1 || (gpus > 0 && gpusPerSlot === 1), {
    path: ['slotsPerGpu'],
    message:
      'slots share GPUs only where the site asks for some (gpus) and a slot has no more than one (gpusPerSlot: 1)',
  })
  .refine(
    (config: Reached) => config.relay === undefined || typeof config.relay === 'string' || isOverSsh(config),
    {
      path: ['relay'],
      message:
        'a relay is started on a submit node that is reached over SSH: set transport, or name one that runs, as HOST:PORT',
    },
  )
  .refine((config: Reached) => config.bandwidth === undefined || isOverSsh(config), {
    path: ['bandwidth'],
    message: 'it limits what goes over SSH: set transport, or give "factory relay" --bandwidth',
  })

/** What a site has of the relay that the factory starts, which it may share with others: its place, and how it is to run there. */
export function relayOf(config: z.infer<typeof SiteFile>): { place: string; settings: string } | undefined {
  if (!config.enabled || config.kind === 'local' || config.transport === undefined) return undefined
  if (config.relay === undefined || typeof config.relay === 'string') return undefined
  const { ssh, config: file, login, folder } = config.transport
  const hosts = [ssh].flat()
  return {
    place: JSON.stringify([hosts.length === 1 ? hosts[0] : hosts, file, login, folder]),
    settings: JSON.stringify([config.relay, config.bandwidth]),
  }
}

/** Sites of one submit node share its relay, which can run in one way only. */
const Sites = z.record(Name, SiteFile).superRefine((sites, context) => {
  const first = new Map<string, { name: string; settings: string }>()
  for (const [name, config] of Object.entries(sites)) {
    const relay = relayOf(config)
    if (!relay) continue
    const other = first.get(relay.place)
    if (!other) first.set(relay.place, { name, settings: relay.settings })
    else if (other.settings !== relay.settings)
      context.addIssue({
        code: 'custom',
        path: [name, 'relay'],
        message: `it shares a submit node and so a relay with ${other.name}: give both the same relay and bandwidth, or one of them a transport.folder of its own`,
      })
  }
})

/** Which events are told, and to what. */
const Notification = z
  .strictObject({
    on: z.array(z.enum(EVENT_TYPES)).min(1),
    /** A program and its arguments, run without a shell; it gets the event as JSON on its standard input. */
    command: z.array(Line).min(1).max(100).optional(),
    /** Gets the event as JSON by POST. Its address is a secret: a program that knows it can use it. */
    webhook: z
      .url({ protocol: /^https?$/ })
      .max(2000)
      .optional(),
  })
  .refine(({ command, webhook }) => (command === undefined) !== (webhook === undefined), {
    message: 'say either command or webhook',
  })

/** The whole of factory.yaml. */
export const ConfigFile = z.strictObject({
  manager: z
    .strictObject({
      /** `HOST:PORT`; port 0 takes a free one. Beyond loopback the manager speaks TLS. */
      listen: z
        .string()
        .regex(/^(\[[\da-fA-F:.]+\]|[\w.-]+):\d{1,5}$/, 'expected HOST:PORT')
        .refine(
          (listen) => Number(listen.slice(listen.lastIndexOf(':') + 1)) < 65_536,
          'no port is above 65535',
        )
        .default('127.0.0.1:0'),
      /** URL by which pilots reach it, if that is not where it listens (a proxy, another network). */
      url: z.url({ protocol: /^https?$/ }).optional(),
      /** A worker counts as gone when it was not heard of for this long. */
      workerTimeout: Wait.refine((seconds) => seconds >= 1, 'at least 1s').default(
        managerDefaults.workerTimeoutMs / 1000,
      ),
      /** How much work a worker keeps in hand. */
      leaseTarget: Wait.default(managerDefaults.leaseTargetMs / 1000),
      /** Pilots without work leave after this long. */
      idle: Wait.default(managerDefaults.idleMs / 1000),
      /** What of a context outlives a task on a worker; `factory start --context-mode` overrides it. */
      contextMode: ContextMode.default(managerDefaults.contextMode),
      /** Most disk that large arguments and results may take in the state folder. */
      blobs: Size.default(managerDefaults.blobBytes / 2 ** 20),
    })
    .prefault({}),
  /** Commands and webhooks that are told of events. */
  notify: z.array(Notification).max(20).default([]),
  /** Context files, or folders that hold a context.yaml, registered when the factory starts. */
  contexts: z.array(Line).default([]),
  sites: Sites.default({}),
})

type Sited<T> = T & { name: string; max: number }
export type LocalSiteConfig = Sited<z.infer<typeof local>>
export type HtcondorSiteConfig = Sited<z.infer<typeof htcondor>>
export type SlurmSiteConfig = Sited<z.infer<typeof slurm>>
export type PbsSiteConfig = Sited<z.infer<typeof pbs>>
/** Sites whose batch systems are asked by commands. */
export type BatchSiteConfig = HtcondorSiteConfig | SlurmSiteConfig | PbsSiteConfig
export type SiteConfig = LocalSiteConfig | BatchSiteConfig

/** The configuration in force: all layers merged, defaults filled in, sites that are not enabled left out. */
export type Config = Omit<z.infer<typeof ConfigFile>, 'sites'> & {
  sites: SiteConfig[]
  /** What works and should be written in another way, a line each. */
  warnings: string[]
}

/** Sites whose pilots dial a relay that a user starts, and the relay's host. */
export const relaysByHand = ({ sites }: Pick<Config, 'sites'>): { name: string; host: string }[] =>
  sites.flatMap(({ name, relay }) =>
    typeof relay === 'string' ? [{ name, host: bareHost(relay.slice(0, relay.lastIndexOf(':'))) }] : [],
  )

export function resolveConfig(file: z.infer<typeof ConfigFile>, warnings: string[] = []): Config {
  const sites = Object.entries(file.sites)
    .filter(([, site]) => site.enabled)
    .map(([name, site]): SiteConfig => ({ ...site, name, max: site.max ?? site.count }))
  return { ...file, sites, warnings }
}
