import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Commands of a Slurm in a folder: processes that keep a queue, below the transport that is tested. */
export interface FarSlurm {
  /** The site's commandEnvironment. */
  environment: Record<string, string>
  /** What is in its queue. */
  jobs(): string[]
}

const SBATCH = `
folder=$(dirname "$2")
id=$(ls "$SPOOL/ids" | wc -l); mkdir "$SPOOL/ids/$id"
index=0
while read -r pilot; do
  printf %s "$folder" >"$SPOOL/new"; mv "$SPOOL/new" "$SPOOL/queue/\${id}_$index"; index=$((index + 1))
done <"$folder/pilots"
if [ -e "$SPOOL/hold" ]; then touch "$SPOOL/held"; sleep 1000; fi
if [ -e "$SPOOL/run" ]; then . "$SPOOL/bin/run"; fi
echo "$id"`
/** Has a job's script run, as a process of its own. */
const RUN = `
for job in "$SPOOL/queue/\${id}"_*; do
  name=\${job##*/}
  ( cd "$folder" && echo >"$SPOOL/running/$name"
    export SLURM_JOB_ID=$id SLURM_ARRAY_TASK_ID=\${name#*_} SLURMD_NODENAME=n\${name#*_}
    $SRUN setsid sh -c 'echo $$ >"$SPOOL/running/$1"; exec sh slurm.sh >>"logs/$SLURM_ARRAY_TASK_ID.out" 2>&1' sh "$name"
    rm -f "$job" ) </dev/null >/dev/null 2>&1 &
done`
const SQUEUE = `
cd "$SPOOL/queue"
for job in *; do
  [ -e "$job" ] || continue
  if [ -e "../running/$job" ]; then state=RUNNING; else state=PENDING; fi
  echo "gleaner|$job|$state||\${job#*_}|None|$(cat "$job")"
done`
const SCANCEL = `
cd "$SPOOL/queue"
for job; do
  case $job in -*) continue;; esac
  if pid=$(cat "../running/$job" 2>/dev/null); then kill -TERM -"$pid"; else rm -f -- "$job"; fi
done`

/** @param runs whether jobs are run, too, with this in front of their command: they wait for good otherwise */
export function farSlurm(folder: string, runs?: string): FarSlurm {
  const spool = join(folder, 'spool')
  for (const name of ['queue', 'ids', 'bin', 'running']) mkdirSync(join(spool, name), { recursive: true })
  if (runs !== undefined) writeFileSync(join(spool, 'run'), '')
  for (const [name, script] of Object.entries({
    run: RUN,
    sbatch: SBATCH,
    squeue: SQUEUE,
    scancel: SCANCEL,
  })) {
    writeFileSync(join(spool, 'bin', name), `#!/bin/sh${script}\n`)
    chmodSync(join(spool, 'bin', name), 0o755)
  }
  return {
    environment: { PATH: `${join(spool, 'bin')}:/usr/bin:/bin`, SPOOL: spool, SRUN: runs ?? '' },
    jobs: () => readdirSync(join(spool, 'queue')).sort(),
  }
}
