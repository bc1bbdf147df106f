import { randomBytes, randomUUID } from 'node:crypto';
import { startHttpServer } from './http-server.ts';
import { signatureProblem } from './sigv4.ts';

/**
 * A stand-in for AWS Secrets Manager: `GetSecretValue` of its AWS JSON 1.1 protocol, with signatures checked and AWS's own error
 * shapes. Everything else is refused.
 */
export interface SecretsManagerStandIn {
  address: string;
  region: string;
  /** What a process needs in its environment to be let in; anything else is refused. */
  credentials: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string };
  /** Creates a secret or gives it a new value: text, or bytes for a binary secret. */
  put(name: string, value: string | Buffer): void;
  /** Takes away the permission to read a secret. */
  deny(name: string): void;
  /** The next so many calls are answered with this error of AWS's. */
  failNext(times: number, type: 'ThrottlingException' | 'InternalServiceError' | 'DecryptionFailure'): void;
  /** Keeps every answer back until the returned function is called. */
  hold(): () => void;
  /** Resolves when that many calls have arrived in all. */
  arrived(calls: number): Promise<void>;
  /** Names asked for so far, once for each call, answered or not. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

const statusOf: Record<string, number> = { InternalServiceError: 500, ServiceUnavailable: 503 };

export async function startSecretsManager(region = 'eu-central-1'): Promise<SecretsManagerStandIn> {
  const key = {
    accessKeyId: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(20).toString('hex'),
    region,
    service: 'secretsmanager',
  };
  const secrets = new Map<string, { value: string | Buffer; version: string; denied: boolean }>();
  const failures: string[] = [];
  const asked: string[] = [];
  const waiting: { calls: number; resolve: () => void }[] = [];
  let held: Promise<void> | undefined;

  function answer(name: string): object {
    const failure = failures.shift();
    if (failure) throw refusal(failure, failure === 'ThrottlingException' ? 'Rate exceeded' : 'It failed.');
    const secret = secrets.get(name);
    if (!secret) throw refusal('ResourceNotFoundException', "Secrets Manager can't find the specified secret.");
    if (secret.denied) {
      // AWS names the whole path here.
      const user = 'arn:aws:sts::123456789012:assumed-role/matcher/worker';
      throw refusal(
        'AccessDeniedException',
        `User: ${user} is not authorized to perform: secretsmanager:GetSecretValue on resource: ${name} because no identity-based policy allows the secretsmanager:GetSecretValue action`,
      );
    }
    const { value, version } = secret;
    return {
      ARN: `arn:aws:secretsmanager:${region}:123456789012:secret:${name}-AbCdEf`,
      Name: name,
      VersionId: version,
      ...(typeof value === 'string' ? { SecretString: value } : { SecretBinary: value.toString('base64') }),
      VersionStages: ['AWSCURRENT'],
      CreatedDate: Date.now() / 1000,
    };
  }

  const server = await startHttpServer(async (request, body, response) => {
    const reply = (status: number, json: object) => {
      const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': randomUUID() };
      response.writeHead(status, headers).end(JSON.stringify(json));
    };
    try {
      const { method = '', url = '', headers } = request;
      const problem = signatureProblem({ method, url, headers, body }, key);
      if (problem) throw refusal(problem, 'The request signature we calculated does not match the one you provided.');
      if (method !== 'POST' || headers['x-amz-target'] !== 'secretsmanager.GetSecretValue') {
        throw refusal('UnknownOperationException', '');
      }
      const { SecretId: name } = JSON.parse(body.toString());
      if (typeof name !== 'string' || !/^[\w/+=.@-]{1,512}$/.test(name)) {
        throw refusal('ValidationException', 'Invalid name.');
      }
      asked.push(name);
      for (const one of waiting.filter(({ calls }) => calls <= asked.length)) one.resolve();
      await held;
      reply(200, answer(name));
    } catch (error) {
      const { type = 'InternalServiceError', message } = error as Partial<Refusal>;
      reply(statusOf[type] ?? 400, { __type: type, Message: message, message });
    }
  });

  return {
    address: server.address,
    region,
    credentials: { AWS_ACCESS_KEY_ID: key.accessKeyId, AWS_SECRET_ACCESS_KEY: key.secretAccessKey },
    put(name, value) {
      secrets.set(name, { value, version: randomUUID(), denied: false });
    },
    deny(name) {
      const secret = secrets.get(name);
      if (secret) secret.denied = true;
    },
    failNext(times, type) {
      failures.push(...Array<string>(times).fill(type));
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return () => {
        held = undefined;
        resolve();
      };
    },
    async arrived(calls) {
      if (asked.length >= calls) return;
      await new Promise<void>((resolve) => waiting.push({ calls, resolve }));
    },
    asked,
    close: server.close,
  };
}

interface Refusal {
  type: string;
  message: string;
}

function refusal(type: string, message: string): Refusal {
  return { type, message };
}
