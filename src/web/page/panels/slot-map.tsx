import { useEffect, useRef, useState } from 'preact/hooks'
import { count, plural } from '../../../common/plain/quantity-text.ts'
import type { WorkerView } from '../../view.ts'
import { onThemeChange, resolveColour } from '../colours.ts'
import { type SlotLook, slotLooks } from '../slot-appearance.ts'

/** A slot, the gap between workers, and a row, in CSS pixels. */
const CELL = 9
const GAP = 3
const ROW = 13

const LOOKS: { look: SlotLook; means: string }[] = [
  { look: 'device', means: 'on the device' },
  { look: 'memory', means: 'in memory' },
  { look: 'disk', means: 'on disk' },
  { look: 'warming', means: 'fetching or loading' },
  { look: 'absent', means: 'nothing' },
  { look: 'failed', means: 'failed to load' },
  { look: 'silent', means: 'silent' },
]

/** Those of the theme of now. Asking for them has the browser lay out the page, which would take longer than all the rest. */
let colours: Map<SlotLook, string> | undefined
onThemeChange(() => (colours = undefined))

interface Place {
  worker: WorkerView
  x: number
  y: number
  width: number
}

/** Every slot of every worker, by the warmest context that it holds. @param onPick called with the worker that was clicked */
export function SlotMap({ workers, onPick }: { workers: WorkerView[]; onPick: (id: string) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [width, setWidth] = useState(0)
  const [under, setUnder] = useState<WorkerView>()
  const { places, height } = layOut(workers, width)
  const looks = workers.map(slotLooks)
  const counts = new Map<SlotLook, number>()
  for (const look of looks.flat()) counts.set(look, (counts.get(look) ?? 0) + 1)

  useEffect(() => {
    const holder = canvas.current!.parentElement!
    const resize = new ResizeObserver(() => setWidth(holder.clientWidth))
    resize.observe(holder)
    return () => resize.disconnect()
  }, [])
  useEffect(() => paint(canvas.current!, width, height, places))

  const at = ({ offsetX, offsetY }: MouseEvent) =>
    places.find(
      ({ x, y, width }) => offsetX >= x && offsetX < x + width + GAP && offsetY >= y && offsetY < y + ROW,
    )?.worker
  const legend = LOOKS.filter(({ look }) => counts.has(look))
  const summary = legend.map(({ look, means }) => `${count(counts.get(look)!)} ${means}`).join(', ')
  return (
    <figure class="map">
      <div>
        <canvas
          ref={canvas}
          role="img"
          aria-label={`${plural(looks.flat().length, 'slot')} of ${plural(workers.length, 'worker')}: ${summary}`}
          title={under && `${under.id} on ${under.node}, ${under.site}`}
          onMouseMove={(event) => setUnder(at(event))}
          onClick={(event) => {
            const worker = at(event)
            if (worker) onPick(worker.id)
          }}
        />
      </div>
      <ul class="legend">
        {legend.map(({ look, means }) => (
          <li key={look}>
            <span class="cell" data-level={look} /> {means}{' '}
            <span class="dim">{count(counts.get(look)!)}</span>
          </li>
        ))}
      </ul>
    </figure>
  )
}

/** Workers of a site side by side, line by line. */
function layOut(workers: WorkerView[], width: number): { places: Place[]; height: number } {
  const places: Place[] = []
  const sorted = workers.toSorted(
    (a, b) => a.site.localeCompare(b.site) || Number(a.id.slice(1)) - Number(b.id.slice(1)),
  )
  let [x, y] = [0, 0]
  for (const [i, worker] of sorted.entries()) {
    const own = worker.slots * CELL
    const isNewSite = i > 0 && sorted[i - 1]!.site !== worker.site
    if (isNewSite || (x > 0 && x + own > width)) [x, y] = [0, y + ROW + (isNewSite ? GAP : 0)]
    places.push({ worker, x, y, width: own })
    x += own + GAP
  }
  return { places, height: y + ROW }
}

function paint(canvas: HTMLCanvasElement, width: number, height: number, places: Place[]): void {
  const scale = devicePixelRatio
  const size = { width: Math.round(width * scale), height: Math.round(height * scale) }
  if (canvas.width !== size.width || canvas.height !== size.height) {
    Object.assign(canvas, size)
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
  }
  const pen = canvas.getContext('2d')!
  const colourOf = (colours ??= new Map(
    LOOKS.map(({ look }) => [look, resolveColour(canvas.parentElement!, `var(--level-${look})`)]),
  ))
  pen.setTransform(scale, 0, 0, scale, 0, 0)
  pen.clearRect(0, 0, width, height)
  for (const { worker, x, y } of places) {
    for (const [slot, look] of slotLooks(worker).entries()) {
      pen.fillStyle = colourOf.get(look)!
      pen.fillRect(x + slot * CELL, y, CELL - 1, ROW - 3)
    }
    if (worker.state === 'draining') {
      pen.fillStyle = colourOf.get('failed')!
      pen.fillRect(x, y + ROW - 3, worker.slots * CELL - 1, 1)
    }
  }
}
