import type { FastifyError, FastifyReply } from 'fastify'

/**
 * Answers a request whose URL is none, or has a part that is too long, in the form of every other error. For an HTTP server's
 * `frameworkErrors`: nothing else is asked about such a request, who sent it included, so its connection is not kept.
 */
export function refuseUrl(
  { statusCode = 400, message }: FastifyError,
  _request: unknown,
  reply: FastifyReply,
): void {
  void reply
    .status(statusCode)
    .header('connection', 'close')
    .send({ error: { code: 'GLEANER_INVALID', message } })
}
