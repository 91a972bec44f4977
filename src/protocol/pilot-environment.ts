import { z } from 'zod'

/*
 * What templates/pilot.sh leaves for the worker it boots. It travels in the environment, so nothing in it is secret:
 * the pilot's token stays in a file of mode 0600, named here.
 */
export const PilotEnvironment = z.object({
  /** Where the manager listens, e.g. `https://submit:9700`. Several, separated by blanks, are tried in order. */
  GLEANER_MANAGER: z.string().min(1),
  /** File with the pilot's one-time token. */
  GLEANER_TOKEN_FILE: z.string().min(1),
  /** PEM file with the manager's certificate, when it uses TLS. */
  GLEANER_CA_FILE: z.string().optional(),
  /** The node's cache folder, shared by this user's pilots. */
  GLEANER_CACHE: z.string().min(1),
  /** Scratch folder of this pilot alone, and its working directory; the worker removes it when it leaves. */
  GLEANER_SCRATCH: z.string().min(1),
  /** Folder on a shared filesystem that also holds bundles. */
  GLEANER_SHARED: z.string().optional(),
  /** Seconds since 1970 at which pilot.sh began, and at which the batch system ends the job. */
  GLEANER_STARTED: z.coerce.number(),
  GLEANER_DEADLINE: z.coerce.number().optional(),
  /** The batch system's own name for this job, and how often it has started it before. */
  GLEANER_JOB_ID: z.string().optional(),
  GLEANER_RESTARTS: z.coerce.number().int().default(0),
  /** The node, by the name under which the batch system can be told to avoid it. */
  GLEANER_NODE: z.string().optional(),
  /** CPUs and memory (MiB) of the pilot. */
  GLEANER_CPUS: z.coerce.number().positive().default(1),
  GLEANER_MEMORY_MB: z.coerce.number().positive().optional(),
  /** GPUs as the batch system names them, with commas between, or `none` if it says so; and the variable that it said it by. */
  GLEANER_GPUS: z.string().max(4096).optional(),
  GLEANER_GPUS_BY: z.string().max(100).optional(),
  /** What the site asks for. */
  GLEANER_ASKED_GPUS: z.coerce.number().int().nonnegative().optional(),
  /** GPUs of each slot, and slots that share a GPU; one of the two is 1. */
  GLEANER_GPUS_PER_SLOT: z.coerce.number().int().positive().default(1),
  GLEANER_SLOTS_PER_GPU: z.coerce.number().int().positive().default(1),
  /** Names of variables that the site's setup has set, separated by blanks. */
  GLEANER_SETUP_NAMES: z.string().optional(),
  /** Whether users may have shells in this pilot: said by its submission, so that the manager alone cannot open one. */
  GLEANER_SHELL: z.enum(['yes']).optional(),
  /** Seconds of warning the batch system gives between SIGTERM and SIGKILL. */
  GLEANER_GRACE: z.coerce.number().positive().default(10),
  /** Seconds that the manager may be away: the pilot keeps its results that long. */
  GLEANER_PATIENCE: z.coerce.number().positive().default(600),
})
export type PilotEnvironment = z.infer<typeof PilotEnvironment>
