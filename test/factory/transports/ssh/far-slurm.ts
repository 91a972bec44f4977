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
echo "$id"`
const SQUEUE = `
cd "$SPOOL/queue"
for job in *; do
  [ -e "$job" ] || continue
  echo "gleaner|$job|PENDING||\${job#*_}|None|$(cat "$job")"
done`
const SCANCEL = `
cd "$SPOOL/queue"
for job; do rm -f -- "$job"; done`

export function farSlurm(folder: string): FarSlurm {
  const spool = join(folder, 'spool')
  for (const name of ['queue', 'ids', 'bin']) mkdirSync(join(spool, name), { recursive: true })
  for (const [name, script] of Object.entries({ sbatch: SBATCH, squeue: SQUEUE, scancel: SCANCEL })) {
    writeFileSync(join(spool, 'bin', name), `#!/bin/sh${script}\n`)
    chmodSync(join(spool, 'bin', name), 0o755)
  }
  return {
    environment: { PATH: `${join(spool, 'bin')}:/usr/bin:/bin`, SPOOL: spool },
    jobs: () => readdirSync(join(spool, 'queue')).sort(),
  }
}
