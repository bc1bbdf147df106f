import { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import { errorCode, MatcherError } from '../errors.ts';
import { ExchangeError, exchange, parseAnswer } from '../http-exchange.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { M2MCredentialSource } from './m2m-credentials.ts';
import { type M2MCredentials, sameCredentials } from './m2m-secret.ts';
import { type Remembered, TenantMemory } from './tenant-memory.ts';

/** A token is not used in its last seconds (Tenant Manager contract): it would end on the way. */
const spareMs = 30_000;
const failureMs = 5000;
const requestTimeoutMs = 10_000;
const maxAnswerBytes = 64 * 1024;

export interface BearerToken {
  readonly token: string;
  /** The client that it was given to. */
  readonly credentials: M2MCredentials;
}

/** Every tenant's access token, for one process. */
export interface M2MTokenSource {
  /**
   * @throws MatcherError `M2M_TOKEN_REFUSED` (the authorization service does not accept the client), `M2M_TOKEN_UNAVAILABLE`,
   * `M2M_TOKEN_UNREADABLE`, and what {@link M2MCredentialSource.get} throws; the signal's reason.
   */
  get(tenantId: TenantId, signal?: AbortSignal): Promise<BearerToken>;
  /** After a 401 for `rejected`: a token made with credentials that no cache has answered for. */
  renew(tenantId: TenantId, rejected: BearerToken, signal?: AbortSignal): Promise<BearerToken>;
}

export interface M2MTokenParts {
  settings: Settings;
  credentials: M2MCredentialSource;
  /** Milliseconds, never going back. */
  now?: () => number;
  timeoutMs?: number;
}

/** RFC 6749, section 5.1. A token that no header can carry is none, and would be shown by the error of whoever tried. */
const tokenAnswer = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]+$/),
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.coerce.number().positive(),
});

/** Asks PLUGIN_AUTH_ADDRESS, with the client-credentials grant (RFC 6749, section 4.4; client in the form's body). */
export function createM2MTokens(parts: M2MTokenParts): M2MTokenSource {
  const { settings, credentials: source, now = () => performance.now(), timeoutMs = requestTimeoutMs } = parts;
  if (settings.PLUGIN_AUTH_ADDRESS === undefined) {
    throw new MatcherError('INVALID_CONFIG', 'PLUGIN_AUTH_ADDRESS is required');
  }
  const endpoint = `${settings.PLUGIN_AUTH_ADDRESS}/v1/login/oauth/access_token`;
  const memory = new TenantMemory<BearerToken>({
    now,
    keepFailure: (error) => (errorCode(error) === 'M2M_TOKEN_REFUSED' ? failureMs : 0),
  });

  async function ask(credentials: M2MCredentials): Promise<Remembered<BearerToken>> {
    const { clientId, clientSecret } = credentials;
    const asked = now();
    const form = { grant_type: 'client_credentials', client_id: clientId, client_secret: clientSecret };
    const { status, text } = await exchange(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(form).toString(),
      timeoutMs,
      maxBytes: maxAnswerBytes,
    }).catch((error) => {
      if (!(error instanceof ExchangeError)) throw error;
      throw error.tooLong ? unreadable(error.message) : unavailable(error.message);
    });
    if (status >= 500 || status === 429) throw unavailable(`answered ${status}`);
    if (status === 400 || status === 401 || status === 403) throw refused(status, text);
    if (status !== 200) throw unreadable(`answered ${status}`);
    const parsed = tokenAnswer.safeParse(parseAnswer(text));
    // Only the fields are named: the answer holds the token.
    if (!parsed.success) {
      const fields = parsed.error.issues.map(({ path }) => path.join('.')).filter((field) => field !== '');
      throw unreadable(`sent an answer without a valid ${fields.join(', ') || 'JSON object'}`);
    }
    const { access_token: token, expires_in: seconds } = parsed.data;
    return { value: { token, credentials }, until: asked + seconds * 1000 - spareMs };
  }

  return {
    get(tenantId, signal) {
      const load = async () => {
        const credentials = await source.get(tenantId);
        try {
          return await ask(credentials);
        } catch (error) {
          if (errorCode(error) !== 'M2M_TOKEN_REFUSED') throw error;
          // The client may have been rotated since it was cached, while the last token was still good.
          const renewed = await source.renew(tenantId, credentials);
          if (sameCredentials(renewed, credentials)) throw error;
          return ask(renewed);
        }
      };
      return memory.get(tenantId, load, signal);
    },
    renew(tenantId, rejected, signal) {
      const load = async () => ask(await source.renew(tenantId, rejected.credentials));
      return memory.renew(tenantId, ({ token }) => token === rejected.token, load, signal);
    },
  };
}

function unavailable(what: string): MatcherError {
  return new MatcherError('M2M_TOKEN_UNAVAILABLE', `The authorization service ${what}`, { remedy: 'not-now' });
}

function unreadable(what: string): MatcherError {
  return new MatcherError('M2M_TOKEN_UNREADABLE', `The authorization service ${what}`, {
    remedy: 'transient',
    hint: 'Check PLUGIN_AUTH_ADDRESS.',
  });
}

const refusal = z.object({ error: z.string().regex(/^[a-z_]{1,40}$/) });

/** Transient, because a client is rotated in two places, and in between they differ. */
function refused(status: number, text: string): MatcherError {
  const { error } = refusal.safeParse(parseAnswer(text)).data ?? {};
  const said = error ? `${status}, ${error}` : String(status);
  return new MatcherError('M2M_TOKEN_REFUSED', `The authorization service refuses the tenant’s client (${said})`, {
    remedy: 'transient',
    hint: 'Check that the client in the tenant’s secret exists at the authorization service and has that secret.',
  });
}
