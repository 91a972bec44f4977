import assert from 'node:assert/strict'
import { addJob, createScheduler, exchange, join } from '../../../../src/core/scheduler/transitions.ts'
import type { Action, Reply, SchedulerConfig, SchedulerState } from '../../../../src/core/scheduler/state.ts'
import type { Outcome, TaskResult } from '../../../../src/protocol/task.ts'
import type { ExchangeRequest } from '../../../../src/protocol/worker.ts'
import { CONTEXT } from './scheduler-world.ts'

/* Plays workers of one slot, request by request. */

export const quiet: Reply = {
  leases: [],
  cancel: [],
  revoke: [],
  warm: [],
  ahead: [],
  discard: [],
  again: [],
  drain: false,
}

export function request({
  room = 0,
  ...rest
}: Partial<ExchangeRequest> & { room?: number }): ExchangeRequest {
  return {
    seq: 0,
    results: [],
    leases: [],
    contexts: [{ context: CONTEXT, level: 'memory', attempts: 1 }],
    want: room > 0 ? [{ context: CONTEXT, tasks: room }] : [],
    rate: 0,
    waitMs: 0,
    ...rest,
  }
}

/** A scheduler with job 1, of which nothing is tried again. */
export function withJob(config: Partial<SchedulerConfig> = {}): SchedulerState {
  const state = createScheduler(1, config)
  addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  return state
}

export function replyOf(actions: ReturnType<typeof exchange>): Reply | undefined {
  assert.ok(typeof actions !== 'string')
  return actions.find((action) => action.type === 'reply')?.reply
}

/** A worker that sends one request after the other and is always answered. */
export function driver(state: SchedulerState, id: string) {
  join(state, { id, node: id, slots: 1 }, 0)
  let seq = 0
  const actions: Action[] = []
  const send = ({ now = 0, ...options }: Parameters<typeof request>[0] & { now?: number }): Reply => {
    const came = exchange(state, id, request({ room: 10, ...options, seq: seq++ }), now)
    assert.ok(typeof came !== 'string')
    actions.push(...came)
    return replyOf(came) ?? quiet
  }
  const recorded = () => actions.flatMap((action) => (action.type === 'record' ? [action.result.task] : []))
  return Object.assign(send, { actions, recorded })
}

/** A worker that does all it is given at once, up to ten tasks in a turn, and tells of it at its next turn. */
export function player(state: SchedulerState, id: string, outcomeOf: (task: number) => Outcome) {
  const send = driver(state, id)
  let results: TaskResult[] = []
  const turn = (now: number): void => {
    const { leases } = send({ now, results, room: 10 })
    results = leases.flatMap(({ lease, tasks }) =>
      tasks.map(({ task }) => ({ task, lease, outcome: outcomeOf(task), ms: 1 })),
    )
    told.tried += results.length
  }
  const told = { turn, tried: 0, actions: send.actions, recorded: send.recorded }
  return told
}
