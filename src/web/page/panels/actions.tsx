import { useEffect, useRef, useState } from 'preact/hooks'
import { Refusal, ask } from '../session-client.ts'

/** What a button does, once the user has confirmed it. */
export interface Action {
  /** A question: `Cancel job 3?` */
  title: string
  /** What it means. */
  text: string
  /** The button that does it. */
  label: string
  /** Where the server is asked to. */
  path: string
  /** Said when it is done. */
  done: string
}

/** Asks for confirmation; nothing where the session may only look. */
export type Propose = ((action: Action) => void) | undefined

/**
 * A dialog that confirms actions and says how they went.
 * @param onLeave called when the session has ended
 */
export function useActions(mayAct: boolean, onLeave: (reason: string) => void) {
  const [proposed, setProposed] = useState<Action>()
  const [said, setSaid] = useState<{ text: string; isError: boolean }>()

  async function run({ path, done }: Action) {
    setProposed(undefined)
    try {
      await ask(path, 'POST')
      setSaid({ text: done, isError: false })
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) return onLeave(error.message)
      const text =
        error instanceof Refusal ? error.message : 'the factory cannot be reached: nothing was done'
      setSaid({ text, isError: true })
    }
  }

  const dialogs = (
    <>
      {proposed && (
        <Confirm action={proposed} onYes={() => void run(proposed)} onNo={() => setProposed(undefined)} />
      )}
      <div class="said" role="status" data-error={said?.isError}>
        {said && (
          <>
            <span>{said.text}</span>
            <button type="button" class="plain" aria-label="Dismiss" onClick={() => setSaid(undefined)}>
              ×
            </button>
          </>
        )}
      </div>
    </>
  )
  return { propose: mayAct ? (setProposed as Propose) : undefined, dialogs }
}

function Confirm({ action, onYes, onNo }: { action: Action; onYes: () => void; onNo: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current!.showModal(), [])
  return (
    <dialog ref={dialog} aria-labelledby="question" onClose={onNo}>
      <h2 id="question">{action.title}</h2>
      <p>{action.text}</p>
      <div class="choices">
        <button type="button" onClick={() => dialog.current!.close()}>
          Leave it
        </button>
        <button type="button" class="danger" onClick={onYes}>
          {action.label}
        </button>
      </div>
    </dialog>
  )
}
