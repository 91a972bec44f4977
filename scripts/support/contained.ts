import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Tells the program that it runs contained. */
const CONTAINED = 'GLEANER_CONTAINED'

/**
 * The first process of the container. It ends the program when the other end of its standard input goes, whatever that died of; and
 * with it all that is left goes, too: processes, network namespaces, temporary files.
 */
const FIRST_PROCESS = `
ip link set lo up && mkdir -p /run/netns && mount -t tmpfs none /run/netns || exit
export ${CONTAINED}=yes TMPDIR=$(mktemp -d /tmp/gleaner-bench-XXXXXX)
exec 3<&0
"$@" 3<&- &
program=$!
{ cat <&3 >/dev/null; kill -KILL $program; } 2>/dev/null &
wait $program
code=$?
kill -KILL -1 2>/dev/null
wait
rm -rf "$TMPDIR"
exit $code`

export const isContained = process.env[CONTAINED] !== undefined

/**
 * Runs this program once more, in namespaces of its own for processes, networks and mounts, so that nothing that it starts outlives
 * it, even if it is killed. Takes root.
 * @returns its exit code
 */
export async function runContained(): Promise<number> {
  const namespaces = ['--pid', '--fork', '--kill-child', '--mount-proc', '--net']
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const child = spawn('unshare', [...namespaces, 'sh', '-c', FIRST_PROCESS, 'sh', ...program], {
    stdio: ['pipe', 'inherit', 'inherit'],
    // A Ctrl-C is for this process, whose end is its end.
    detached: true,
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return code ?? 1
}
