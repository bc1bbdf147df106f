import type { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import { errorMessage, MatcherError } from '../errors.ts';
import { ConfigCache } from './config-cache.ts';
import { tenantConfigFrom } from './tenant-config.ts';
import { canonicalTenantId, type TenantId, tryCanonicalTenantId } from './tenant-id.ts';
import type { TenantSource } from './tenant-source.ts';
import { activeTenantsAnswer, connectionsAnswer, refusal, service } from './wire.ts';

const maxAnswerBytes = 10 * 1024 * 1024;

export interface NewTenant {
  id?: string;
  name: string;
  slug?: string;
  environment: string;
  isolation: string;
  metadata?: Record<string, string>;
  owner: { email: string };
}

export interface TenantManagerClient extends TenantSource {
  describeActive(
    signal?: AbortSignal,
  ): Promise<{ id: string; name?: string | null | undefined; status?: string | null | undefined }[]>;
  create(tenant: NewTenant): Promise<{ id: string; slug: string; status: string }>;
  associate(
    tenantId: TenantId,
    body: { isolationMode: string; maxOpenConns?: number; maxIdleConns?: number },
  ): Promise<void>;
  suspend(tenantId: TenantId): Promise<void>;
  reactivate(tenantId: TenantId): Promise<void>;
}

/** Speaks the Tenant Manager's HTTP contract, for workers (list, configuration) and for the command line (administration). */
export function createTenantManagerClient(settings: Settings): TenantManagerClient {
  const { MULTI_TENANT_URL: base, MULTI_TENANT_SERVICE_API_KEY: apiKey } = settings;
  if (base === undefined || apiKey === undefined) {
    throw new MatcherError('INVALID_CONFIG', 'MULTI_TENANT_URL and MULTI_TENANT_SERVICE_API_KEY are required');
  }

  async function call(method: string, path: string, body?: unknown, stop?: AbortSignal): Promise<unknown> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(base + path, {
        method,
        redirect: 'manual',
        signal: AbortSignal.any([AbortSignal.timeout(settings.MULTI_TENANT_TIMEOUT * 1000), ...(stop ? [stop] : [])]),
        headers: {
          'x-api-key': apiKey as string,
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      text = await readBounded(response);
    } catch (cause) {
      if (cause instanceof MatcherError) throw cause;
      const reason = (cause as Error).name === 'TimeoutError' ? 'did not answer in time' : 'cannot be reached';
      throw unavailable(`${reason} (${errorMessage((cause as Error).cause ?? cause)})`, cause);
    }
    if (response.status >= 500 || response.status < 200) throw unavailable(`answered ${response.status}`);
    const json = parseJson(text);
    if (response.ok) {
      if (json === undefined) throw unavailable('sent an unreadable answer');
      return json;
    }
    // What the answer says is shown, and must not show the key.
    throw refused(method, response.status, parseJson(text.replaceAll(apiKey as string, '[redacted]')), path);
  }

  async function ask<S extends z.ZodType>(schema: S, path: string, stop?: AbortSignal): Promise<z.infer<S>> {
    const parsed = schema.safeParse(await call('GET', path, undefined, stop));
    // Only the places are named: the answer holds passwords.
    if (!parsed.success) {
      throw unavailable(
        `sent an answer without a valid ${parsed.error.issues.map((i) => i.path.join('.')).join(', ')}`,
      );
    }
    return parsed.data;
  }

  const configs = new ConfigCache(async (tenantId) => {
    const path = `/v1/tenants/${encodeURIComponent(tenantId)}/associations/${service}/connections`;
    return tenantConfigFrom(await ask(connectionsAnswer, path), tenantId, settings);
  }, settings.MULTI_TENANT_CACHE_TTL_SEC * 1000);

  const describeActive = (signal?: AbortSignal) =>
    ask(activeTenantsAnswer, `/v1/tenants/active?service=${service}`, signal);

  return {
    describeActive,
    async listActive(signal) {
      const ids = (await describeActive(signal)).map((tenant) => tryCanonicalTenantId(tenant.id));
      return [...new Set(ids.filter((id) => id !== undefined))];
    },
    config: (tenantId) => configs.get(tenantId),
    refresh: (tenantId) => configs.refresh(tenantId),
    forget: (tenantId) => configs.forget(tenantId),
    async create(tenant) {
      const answer = (await call('POST', '/v1/tenants', tenant)) as { id: string; slug: string; status: string };
      return { ...answer, id: canonicalTenantId(answer.id) };
    },
    async associate(tenantId, body) {
      await call('POST', `/v1/tenants/${encodeURIComponent(tenantId)}/associations/${service}`, body);
    },
    async suspend(tenantId) {
      await call('PUT', `/v1/tenants/${encodeURIComponent(tenantId)}/associations/${service}/suspend`);
    },
    async reactivate(tenantId) {
      await call('PUT', `/v1/tenants/${encodeURIComponent(tenantId)}/reactivate`);
    },
  };
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxAnswerBytes) throw unavailable(`sent an answer longer than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return text === '' ? {} : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A failure of the Tenant Manager itself: the only kind that says nothing about the tenant. */
function unavailable(what: string, cause?: unknown): MatcherError {
  return new MatcherError('TENANT_MANAGER_UNAVAILABLE', `The Tenant Manager ${what}`, { remedy: 'not-now', cause });
}

/**
 * A 3xx or 4xx: an answer, and the end of that call only. Whatever it says about the tenant, it says nothing against a job that
 * needed the answer.
 */
function refused(method: string, status: number, json: unknown, path: string): MatcherError {
  const { error, status: tenantStatus } = refusal.safeParse(json).data ?? {};
  const said = error ? `: ${error}` : '';
  if (status === 404) {
    return new MatcherError('TENANT_NOT_FOUND', `The Tenant Manager knows no such tenant or service${said}`, {
      remedy: 'not-now',
    });
  }
  if (status === 403 && tenantStatus) {
    return new MatcherError('TENANT_SUSPENDED', `The service is ${tenantStatus} for this tenant`, {
      remedy: 'not-now',
    });
  }
  if (status === 401 || status === 403) {
    return new MatcherError('TENANT_MANAGER_REFUSED', `The Tenant Manager denies access${said}`, {
      hint: 'Check MULTI_TENANT_SERVICE_API_KEY.',
      remedy: 'not-now',
    });
  }
  if (status === 409 && method === 'POST') return new MatcherError('ALREADY_EXISTS', `It exists already${said}`);
  return new MatcherError('TENANT_MANAGER_REFUSED', `The Tenant Manager answered ${status} to ${path}${said}`, {
    remedy: 'not-now',
  });
}
