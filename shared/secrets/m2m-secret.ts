import { z } from 'zod';
import { isLoopback } from '../config/kinds.ts';
import { MatcherError } from '../errors.ts';
import { describeSecretName } from './m2m-path.ts';

/** A tenant's client at the authorization service. */
export interface M2MCredentials {
  readonly clientId: string;
  readonly clientSecret: string;
  /** Where the target service of this tenant is, without a trailing slash, when it is not where all others' is. */
  readonly targetBaseUrl: string | undefined;
}

const secretValue = z.object({
  clientId: z.string().trim().min(1).optional().catch(undefined),
  clientSecret: z.string().min(1).optional().catch(undefined),
  targetBaseUrl: z.string().trim().nullish(),
});

/**
 * Reads a secret's value: JSON `{clientId, clientSecret, targetBaseUrl?}`, unknown fields ignored.
 *
 * @param name the secret's name, for the errors, which show its last segment and a hash.
 * @throws MatcherError `M2M_SECRET_MALFORMED`, `M2M_CLIENT_ID_MISSING`, `M2M_CLIENT_SECRET_MISSING`, `M2M_TARGET_URL_INVALID`.
 */
export function parseM2MSecret(text: string, name: string, allowInsecureHttp: boolean): M2MCredentials {
  const where = describeSecretName(name);
  const fail = (code: string, what: string) =>
    new MatcherError(code, `The secret ${where} ${what}`, { hint: 'Correct the secret’s value, then replay the job.' });

  const parsed = secretValue.safeParse(parseJson(text));
  if (!parsed.success) throw fail('M2M_SECRET_MALFORMED', 'is not the JSON object that it should be');
  const { clientId, clientSecret, targetBaseUrl } = parsed.data;
  if (clientId === undefined) throw fail('M2M_CLIENT_ID_MISSING', 'has no clientId');
  if (clientSecret === undefined) throw fail('M2M_CLIENT_SECRET_MISSING', 'has no clientSecret');
  if (!targetBaseUrl) return { clientId, clientSecret, targetBaseUrl: undefined };
  const problem = baseUrlProblem(targetBaseUrl, allowInsecureHttp);
  if (problem) throw fail('M2M_TARGET_URL_INVALID', `has a targetBaseUrl that ${problem}`);
  return { clientId, clientSecret, targetBaseUrl: targetBaseUrl.replace(/\/+$/, '') };
}

export function sameCredentials(one: M2MCredentials, other: M2MCredentials): boolean {
  return (
    one.clientId === other.clientId &&
    one.clientSecret === other.clientSecret &&
    one.targetBaseUrl === other.targetBaseUrl
  );
}

/** The parser's own error quotes the text, and the text is the secret. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function baseUrlProblem(text: string, allowInsecureHttp: boolean): string | undefined {
  if (!URL.canParse(text)) return 'is no address';
  const { protocol, hostname, username, password, search, hash } = new URL(text);
  if (protocol !== 'https:' && protocol !== 'http:') return 'is neither https nor http';
  if (username || password || search || hash) return 'has more than scheme, host and path';
  if (protocol === 'http:' && !allowInsecureHttp && !isLoopback(hostname)) {
    return 'is plain http and not on this machine';
  }
  return undefined;
}
