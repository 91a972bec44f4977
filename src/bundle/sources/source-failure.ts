import { errors } from 'undici'
import type { FaultReason } from '../../protocol/piece-sources.ts'
import { errnoOf } from '../format/errors.ts'
import { SourceError } from './piece-source.ts'

/** What a failure says about the source: a {@link SourceError}, or the failure itself if it says nothing. */
export function blame(error: unknown): unknown {
  const reason = error instanceof SourceError ? undefined : reasonOf(error)
  if (reason === undefined) return error
  return new SourceError(reason, error instanceof Error ? error.message : String(error), { cause: error })
}

function reasonOf(error: unknown): FaultReason | undefined {
  if (error instanceof errors.ConnectTimeoutError) return 'unreachable'
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError)
    return 'stalled'
  if (error instanceof errors.HTTPParserError || error instanceof errors.ResponseContentLengthMismatchError) {
    return 'protocol'
  }
  if (error instanceof errors.UndiciError) return 'reset'
  const code = errnoOf(error)
  if (code === undefined) return undefined
  return ['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes(code) ? 'reset' : 'unreachable'
}
