import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import type { Settings } from '../config/variables.ts';
import { errorCode, MatcherError } from '../errors.ts';
import { describeSecretName } from './m2m-path.ts';

/** Attempts at one read, the first included; the SDK waits longer and longer between them. */
const maxAttempts = 3;
const connectTimeoutMs = 2000;
const attemptTimeoutMs = 5000;
/** For a whole read: attempts, pauses, and finding the process's own AWS credentials. */
const readTimeoutMs = 20_000;

export interface SecretReader {
  /**
   * The current value of the secret of that name.
   *
   * @throws MatcherError `M2M_SECRET_NOT_FOUND`, `M2M_SECRET_ACCESS_DENIED`, `M2M_SECRETS_THROTTLED`, `M2M_SECRETS_UNAVAILABLE`,
   * `M2M_SECRET_BINARY`.
   */
  read(name: string): Promise<string>;
  close(): void;
}

/**
 * Reads from AWS Secrets Manager in AWS_REGION. The process's own credentials come from the AWS SDK's chain (environment, web
 * identity, container, instance).
 */
export function createSecretReader(
  settings: Pick<Settings, 'AWS_REGION' | 'AWS_ENDPOINT_URL_SECRETS_MANAGER'>,
  limits: { attemptTimeoutMs?: number; readTimeoutMs?: number } = {},
): SecretReader {
  const { AWS_REGION: region, AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint } = settings;
  if (region === undefined) throw new MatcherError('INVALID_CONFIG', 'AWS_REGION is required');
  const client = new SecretsManagerClient({
    region,
    ...(endpoint ? { endpoint } : {}),
    maxAttempts,
    requestHandler: {
      connectionTimeout: connectTimeoutMs,
      requestTimeout: limits.attemptTimeoutMs ?? attemptTimeoutMs,
      throwOnRequestTimeout: true,
    },
  });
  return {
    async read(name) {
      const where = describeSecretName(name);
      const abortSignal = AbortSignal.timeout(limits.readTimeoutMs ?? readTimeoutMs);
      const answer = await client
        .send(new GetSecretValueCommand({ SecretId: name }), { abortSignal })
        .catch((error) => {
          throw readFailure(error, where);
        });
      if (answer.SecretString !== undefined) return answer.SecretString;
      throw new MatcherError('M2M_SECRET_BINARY', `The secret ${where} is binary; credentials are JSON text`, {
        hint: 'Store the secret as a string, then replay the job.',
      });
    },
    close: () => client.destroy(),
  };
}

/** What AWS answers about the secret, whose name is then wrong, marked for deletion or not acceptable to it. */
const notFound = new Set([
  'ResourceNotFoundException',
  'InvalidRequestException',
  'InvalidParameterException',
  'ValidationException',
]);
/** What AWS, or the SDK's chain before it asks, answers about the process's identity. */
const denied = new Set([
  'AccessDeniedException',
  'DecryptionFailure',
  'UnrecognizedClientException',
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'IncompleteSignature',
  'MissingAuthenticationTokenException',
  'ExpiredTokenException',
  'NotAuthorized',
  'OptInRequired',
  'CredentialsProviderError',
]);
const throttled = new Set([
  'ThrottlingException',
  'Throttling',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'LimitExceededException',
]);

/**
 * The SDK's error is neither quoted nor kept as the cause: AWS names the whole path in its refusals ("… is not authorized to perform …
 * on resource: …"). Its name and the request's id are what the AWS support asks for.
 */
function readFailure(error: unknown, where: string): MatcherError {
  const name = (error as Error).name;
  const id = (error as { $metadata?: { requestId?: string } }).$metadata?.requestId;
  const said = `${/^[\w.]{1,64}$/.test(name) ? name : errorCode(error)}${id ? `, request ${id}` : ''}`;
  if (notFound.has(name)) {
    return new MatcherError('M2M_SECRET_NOT_FOUND', `Secrets Manager has no secret ${where} (${said})`, {
      hint: 'Create the secret with the tenant’s client, then replay the job.',
    });
  }
  if (denied.has(name)) {
    return new MatcherError('M2M_SECRET_ACCESS_DENIED', `Secrets Manager denies access to ${where} (${said})`, {
      remedy: 'not-now',
      hint: 'The process’s AWS identity needs secretsmanager:GetSecretValue for that path, and the key’s kms:Decrypt.',
    });
  }
  if (throttled.has(name)) {
    return new MatcherError('M2M_SECRETS_THROTTLED', `Secrets Manager throttles the reading of ${where} (${said})`, {
      remedy: 'not-now',
    });
  }
  const code = errorCode((error as Error).cause ?? error);
  const reason = code === name || !/^E[A-Z]+$/.test(code) ? said : `${code}, ${said}`;
  return new MatcherError('M2M_SECRETS_UNAVAILABLE', `Secrets Manager did not give ${where} (${reason})`, {
    remedy: 'not-now',
  });
}
