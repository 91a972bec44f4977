import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import { type Access, type ApiKeys, FULL_ACCESS } from '../manager/services/api-keys.ts'
import { bearer, matches } from '../manager/services/tokens.ts'
import { ApiFailure } from './error-bodies.ts'

/** Number of the key that made a file or a batch; null for the user. */
export const Owner = z.int().nullable().default(null)

const granted = new WeakMap<FastifyRequest, Access>()

/** What the bearer of a request may do. */
export function accessOf(request: FastifyRequest): Access {
  return granted.get(request)!
}

/** A refusal by which the API's clients know that it is the key. */
export const invalidKey = (message: string) => new ApiFailure(401, message, { code: 'invalid_api_key' })

/** Lets in who has the user's token or a key. @param user hash of the user's token */
export function keyOnly(user: Uint8Array, keys: ApiKeys): onRequestHookHandler {
  return (request, _reply, done) => {
    const token = bearer(request.headers.authorization) ?? ''
    const access = matches(token, user) ? FULL_ACCESS : keys.accessOf(token)
    if (!access)
      throw invalidKey(
        'the API key is missing, not valid or revoked: take the token in endpoint.json, or have one made by `factory key create`',
      )
    if (access.readOnly && request.method !== 'GET')
      throw new ApiFailure(403, 'this API key is for reading only', { code: 'insufficient_permissions' })
    granted.set(request, access)
    done()
  }
}

/** Whether a key may see and use what another one, or the user, has made. One for a few models has only what is its own. */
export function mayUse({ key, models }: Access, owner: number | null): boolean {
  return models === undefined || owner === key
}

/** Whether a key is good for a model. */
export function allows({ models }: Access, model: string): boolean {
  return models?.includes(model) ?? true
}

/** @throws {ApiFailure} 403 */
export function requireModel(access: Access, model: string): void {
  if (!allows(access, model))
    throw new ApiFailure(
      403,
      `this API key is not for model "${model}", but for ${access.models?.join(', ')}`,
      {
        param: 'model',
        code: 'model_not_allowed',
      },
    )
}
