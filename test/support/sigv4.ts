import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** A signed request as it arrived. */
export interface SignedRequest {
  method: string;
  /** Path and query. */
  url: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface SigningKey {
  accessKeyId: string;
  secretAccessKey: string;
  region: string;
  service: string;
}

/** Requests this much older or newer than the server's clock are refused, as AWS does. */
const maxSkewMs = 5 * 60_000;

/**
 * Checks an AWS Signature Version 4 in the `Authorization` header by computing it anew
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
 *
 * @returns the error type that AWS answers with, or `undefined` when the signature is right.
 */
export function signatureProblem(request: SignedRequest, key: SigningKey, now = Date.now()): string | undefined {
  const { headers, body } = request;
  const parts = parseAuthorization(headers.authorization);
  if (!parts) return 'MissingAuthenticationTokenException';
  const amzDate = String(headers['x-amz-date'] ?? '');
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(amzDate) ?? [];
  const sent = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (!(Math.abs(sent - now) <= maxSkewMs)) return 'InvalidSignatureException';
  if (parts.accessKeyId !== key.accessKeyId) return 'UnrecognizedClientException';
  if (parts.scope !== scopeOf(amzDate, key)) return 'InvalidSignatureException';
  const mustBeSigned = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))];
  if (!mustBeSigned.every((name) => parts.signedHeaders.includes(name))) return 'InvalidSignatureException';
  const said = headers['x-amz-content-sha256'];
  if (said !== undefined && said !== sha256(body)) return 'InvalidSignatureException';

  const expected = Buffer.from(signature(request, parts.signedHeaders, key));
  const given = Buffer.from(parts.signature);
  return given.length === expected.length && timingSafeEqual(given, expected) ? undefined : 'InvalidSignatureException';
}

/** The signature in hexadecimal of a request over those headers, by their lowercase names. */
export function signature(request: SignedRequest, signedHeaders: string[], key: SigningKey): string {
  const { method, url, headers, body } = request;
  const { pathname, searchParams } = new URL(url, 'http://host');
  const query = [...searchParams]
    .map(([name, value]) => `${encodeStrictly(name)}=${encodeStrictly(value)}`)
    .sort()
    .join('&');
  const names = signedHeaders.toSorted();
  const canonical = [
    method,
    pathname,
    query,
    ...names.map(
      (name) =>
        `${name}:${String(headers[name] ?? '')
          .replace(/\s+/g, ' ')
          .trim()}`,
    ),
    '',
    names.join(';'),
    sha256(body),
  ].join('\n');
  const amzDate = String(headers['x-amz-date']);
  const toSign = ['AWS4-HMAC-SHA256', amzDate, scopeOf(amzDate, key), sha256(Buffer.from(canonical))].join('\n');
  const signingKey = [amzDate.slice(0, 8), key.region, key.service, 'aws4_request'].reduce<string | Buffer>(
    (derived, part) => createHmac('sha256', derived).update(part).digest(),
    `AWS4${key.secretAccessKey}`,
  );
  return createHmac('sha256', signingKey).update(toSign).digest('hex');
}

function parseAuthorization(header: string | undefined) {
  const [, accessKeyId, scope, names, given] =
    /^AWS4-HMAC-SHA256 Credential=([^/,]+)\/([^,]+), *SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})$/.exec(
      header ?? '',
    ) ?? [];
  if (!accessKeyId || !scope || !names || !given) return undefined;
  return { accessKeyId, scope, signedHeaders: names.split(';'), signature: given };
}

function scopeOf(amzDate: string, { region, service }: SigningKey): string {
  return `${amzDate.slice(0, 8)}/${region}/${service}/aws4_request`;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** RFC 3986: what `encodeURIComponent` leaves alone beyond the unreserved characters is encoded too. */
function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
