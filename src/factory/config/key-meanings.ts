import { z } from 'zod'
import { ConfigFile, type siteSchemas } from './config.ts'

/*
 * What each key of factory.yaml means, for docs/configuration.md, the JSON Schema that editors read, and `factory config`. A key
 * of the schema that has no line here is an error of types.
 */

type Keys =
  | keyof typeof siteSchemas.local.shape
  | keyof typeof siteSchemas.htcondor.shape
  | keyof typeof siteSchemas.slurm.shape
  | keyof typeof siteSchemas.pbs.shape
type ManagerKeys = keyof z.output<typeof ConfigFile>['manager']

/** A meaning; `unit` says how a default is written, `otherwise` what holds where nothing is set. */
export interface KeyMeaning {
  meaning: string
  unit?: 'time' | 'size'
  otherwise?: string
}

export const managerKeys: Record<ManagerKeys, KeyMeaning> = {
  listen: {
    meaning:
      '`HOST:PORT`; port 0 takes a free one at first, and the same again after a restart; beyond loopback it speaks TLS',
  },
  url: {
    meaning:
      'how pilots reach it, if not by where it listens: another network, or a proxy that lets `upgrade` pass, as for WebSockets',
  },
  workerTimeout: { meaning: 'a worker counts as gone when it was not heard of for this long', unit: 'time' },
  leaseTarget: { meaning: 'how much work a worker keeps in hand, at its own speed', unit: 'time' },
  idle: { meaning: 'pilots without work leave after this long', unit: 'time' },
  contextMode: {
    meaning: 'what of a context outlives a task: `none`, `disk` (its files) or `pervasive`; to compare',
  },
  blobs: {
    meaning: 'most disk that large arguments and results may take in the state folder; more is refused',
    unit: 'size',
  },
}

export const siteKeys: Record<Keys, KeyMeaning> = {
  kind: { meaning: '`local`, `htcondor`, `slurm` or `pbs`' },
  enabled: { meaning: '`false` leaves out a site that another file defines' },
  policy: {
    meaning:
      '`fixed`: `count` pilots while there is work. `demand`: as many as finish what is queued within `finishWithin`, by measured speed. `opportunistic`: as many as it gets, by always keeping `pending` of them waiting',
  },
  count: { meaning: 'pilots of `fixed`' },
  pending: { meaning: 'pilots that `opportunistic` keeps waiting' },
  finishWithin: { meaning: 'time in which `demand` wants the work done', unit: 'time' },
  min: { meaning: 'fewest pilots of `demand` while there is work' },
  max: {
    meaning: 'most pilots in the queue at once, running, waiting or held',
    otherwise: '`count` for `fixed`; the others need one',
  },
  cpus: { meaning: 'CPUs of each pilot' },
  gpus: { meaning: 'GPUs of each pilot' },
  gpusPerSlot: { meaning: 'GPUs that each library has for itself; see [gpus.md](gpus.md)' },
  slotsPerGpu: { meaning: 'libraries that work on each GPU side by side' },
  memory: {
    meaning: 'memory of each pilot; 0 is all that the node has, `none` what the batch system gives by itself',
    unit: 'size',
  },
  disk: { meaning: 'scratch disk of each pilot', otherwise: 'not asked for' },
  walltime: { meaning: 'longest a pilot runs', otherwise: 'not asked for' },
  grace: { meaning: 'warning the batch system gives between SIGTERM and SIGKILL', unit: 'time' },
  patience: {
    meaning:
      'how long pilots that do not reach the manager keep their results and try again, before they leave; see [relay.md](relay.md)',
    unit: 'time',
  },
  commandEnvironment: { meaning: 'variables for the batch system’s commands, e.g. `SLURM_CONF`' },
  setup: {
    meaning: 'shell lines run on the node first, such as `module load cuda`; see [setup.md](setup.md)',
  },
  setupShell: { meaning: 'the shell for them, e.g. `bash --login`', otherwise: 'bash' },
  cacheFolder: {
    meaning: 'node-local folder that outlives a pilot; `$NAME` is expanded on the node',
    otherwise: 'below `/tmp`',
  },
  sharedFolder: {
    meaning:
      'a store that all nodes see, where workers also look for bundles; `factory bundle create --state DIR PATH…` makes one, `DIR/store`',
  },
  relay: {
    meaning:
      'for pilots that cannot reach the manager: `true` starts a relay on the submit node that is reached over SSH, `HOST:PORT` names one that runs: [relay.md](relay.md)',
    otherwise: 'none',
  },
  bandwidth: {
    meaning: 'most bytes a second that go to the site over SSH, such as `20MB`',
    otherwise: 'no limit',
  },
  shell: {
    meaning:
      'whether `factory attach` and `factory exec` may open shells in its pilots: [shells.md](shells.md)',
    otherwise: 'no',
  },
  template: { meaning: 'your own submit template' },
  submitRate: { meaning: 'submissions a minute (`local`: 120)' },
  submitSize: { meaning: 'most pilots in one submission' },
  poll: { meaning: 'how often the queue is looked at (`local`: every 2 s)', unit: 'time' },
  linger: { meaning: 'waiting pilots are taken out of the queue after this long without work', unit: 'time' },
  removeHeldAfter: { meaning: 'held pilots are removed after this long', otherwise: 'never' },
  transport: { meaning: 'the submit node that is reached over SSH', otherwise: 'this machine' },
  jobName: { meaning: 'what the names of jobs begin with' },
  options: { meaning: 'options of the job file by name, in place of its default lines; `none` removes one' },
  extraLines: { meaning: 'lines for the job file, as they are' },
  queue: { meaning: 'PBS’s queue' },
  project: { meaning: 'PBS’s project' },
  partition: { meaning: 'Slurm’s partition' },
  account: { meaning: 'the account that is charged' },
  qos: { meaning: 'Slurm’s quality of service' },
  constraint: { meaning: 'features that nodes must have' },
  reservation: { meaning: 'a reservation to run in' },
  requeue: { meaning: 'whether Slurm may start a pilot again after it was preempted or its node failed' },
  owner: { meaning: 'whose the jobs are in the queue, where that is not the account that submits them' },
  requirements: { meaning: 'a ClassAd expression that machines must meet' },
  rank: { meaning: 'a ClassAd expression: machines with a higher value are taken first' },
  concurrencyLimits: { meaning: 'names of limits of the pool that each pilot counts against' },
  attributes: { meaning: 'ClassAd attributes of each job, by name, as expressions' },
}

type SchemaNode = {
  properties?: Record<string, SchemaNode>
  oneOf?: SchemaNode[]
  additionalProperties?: SchemaNode
  description?: string
  [key: string]: unknown
}

/** The JSON Schema of factory.yaml, with the meaning of each key, for editors. */
export function configJsonSchema(): object {
  const schema = z.toJSONSchema(ConfigFile, { io: 'input', unrepresentable: 'any' }) as SchemaNode
  const { manager, sites } = schema.properties!
  describe(manager!, managerKeys)
  for (const kind of sites!.additionalProperties!.oneOf!) describe(kind, siteKeys)
  return { ...schema, title: 'factory.yaml of Gleaner' }
}

function describe({ properties = {} }: SchemaNode, meanings: Readonly<Record<string, KeyMeaning>>): void {
  for (const [key, node] of Object.entries(properties)) node.description = meanings[key]!.meaning
}
