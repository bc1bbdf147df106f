import { createHash, timingSafeEqual } from 'node:crypto';
import { remedyFor } from '@matcher/shared/errors.ts';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { createMetrics } from './metrics.ts';
import type { Parts } from './parts.ts';
import { Refusal } from './refusals.ts';
import { addRoutes } from './routes.ts';

const maxBodyBytes = 64 * 1024;

/** What supervises the process has no key, and learns nothing about any tenant. */
const open = new Set(['/health', '/metrics']);

/** The HTTP side: who may ask, what an answer looks like when something is wrong, and what is logged. */
export function createServer(parts: Parts): FastifyInstance {
  const expected = digest(parts.settings.MULTI_TENANT_SERVICE_API_KEY ?? '');
  // Digests have one length, so that the comparison's time says nothing about the key's.
  const authorized = (request: FastifyRequest) =>
    timingSafeEqual(digest(String(request.headers['x-api-key'] ?? '')), expected);
  const unauthorized = () => new Refusal(401, 'UNAUTHORIZED', 'X-API-Key is missing or wrong');

  const app = Fastify({
    bodyLimit: maxBodyBytes,
    requestTimeout: 30_000,
    // How long an identifier may be is its check's business; the default answers beyond 100 characters by itself.
    routerOptions: { maxParamLength: maxBodyBytes },
    // Paths that can't be decoded reach no hook.
    frameworkErrors: (error, request, reply) => {
      refuse(
        reply as FastifyReply,
        authorized(request) ? new Refusal(400, 'INVALID_REQUEST', error.message) : unauthorized(),
      );
    },
  });

  // Clients send the content type also where there is nothing to say, as in a PUT without a body.
  const readJson = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else readJson(request, body as string, done);
  });

  app.addHook('onRequest', async (request) => {
    if (!open.has(request.routeOptions.url ?? '') && !authorized(request)) throw unauthorized();
  });

  // A connection that is kept alive beyond its last answer would keep the closing server open.
  let closing = false;
  app.addHook('preClose', async () => {
    closing = true;
  });
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close');
  });

  app.setNotFoundHandler(() => {
    throw new Refusal(404, 'NOT_FOUND', 'There is no such path');
  });

  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    if (error instanceof Refusal) return refuse(reply, error);
    // The framework's own refusals: malformed JSON, a body that is too large, another content type.
    if (error.statusCode !== undefined && error.statusCode < 500) {
      return refuse(reply, new Refusal(error.statusCode, 'INVALID_REQUEST', error.message));
    }
    parts.log.error({ err: error, method: request.method, route: request.routeOptions.url }, 'a request failed');
    if (remedyFor(error) === 'permanent') {
      return refuse(reply, new Refusal(500, 'INTERNAL', 'The Tenant Manager failed; its log says why'));
    }
    return refuse(reply, new Refusal(503, 'UNAVAILABLE', 'The Tenant Manager cannot reach its database'));
  });

  const metrics = createMetrics();
  app.get('/metrics', async (_request, reply) => {
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  app.addHook('onResponse', async (request, reply) => {
    const { method, params } = request;
    // The route's pattern, or none: what clients ask for must not become a label.
    metrics.answers.inc({ method, route: request.routeOptions.url ?? '', status: reply.statusCode });
    // Workers ask all the time; only what changes something or fails is worth a line by default.
    const level = method === 'GET' && reply.statusCode < 500 ? 'debug' : 'info';
    parts.log[level](
      {
        method,
        route: request.routeOptions.url,
        tenantId: (params as { tenantId?: string }).tenantId,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'request',
    );
  });

  addRoutes(app, parts);
  return app;
}

function refuse(reply: FastifyReply, { statusCode, code, message, details }: Refusal): FastifyReply {
  return reply.code(statusCode).send({ code, error: message, ...details });
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
