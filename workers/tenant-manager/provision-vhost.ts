import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorMessage, MatcherError } from '@matcher/shared/errors.ts';

const timeoutMs = 10_000;

/** The RabbitMQ that tenants get their vhosts on. */
export interface Broker {
  /** @throws MatcherError `BROKER_REFUSED` unless the configured user may create vhosts and users. */
  check(): Promise<void>;
  /** Creates a vhost and a user that can reach it and no other. Repeating it completes what was begun and sets the password again. */
  provisionVhost(vhost: string, user: string, password: string): Promise<void>;
  /** Gives the vhost a further user, or the one that is there another password. */
  provisionUser(vhost: string, user: string, password: string): Promise<void>;
  /** No password opens a connection as this user any more; open connections go on. */
  lockOut(user: string): Promise<void>;
  /** Deletes the vhost, with every message in it, and the users, with their connections. */
  drop(vhost: string, users: readonly string[]): Promise<void>;
}

/** Administers RabbitMQ through its management API. All its errors are MatcherErrors, without credentials in them. */
export function createBroker(settings: Settings): Broker {
  const {
    RABBITMQ_MANAGEMENT_URL: base,
    RABBITMQ_USER: administrator = '',
    RABBITMQ_PASSWORD: password = '',
  } = settings;
  const authorization = `Basic ${Buffer.from(`${administrator}:${password}`).toString('base64')}`;

  async function call(method: string, path: string[], body?: unknown): Promise<Response> {
    const where = `/api/${path.map(encodeURIComponent).join('/')}`;
    let response: Response;
    try {
      response = await fetch(base + where, {
        method,
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
        headers: { authorization, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (error) {
      const reason = errorMessage((error as Error).cause ?? error);
      throw new MatcherError('BROKER_UNAVAILABLE', `RabbitMQ's management API cannot be reached: ${reason}`, {
        remedy: 'transient',
      });
    }
    if (response.status === 401) {
      throw new MatcherError('BROKER_REFUSED', "RabbitMQ's management API refuses the user", {
        hint: 'Check RABBITMQ_USER and RABBITMQ_PASSWORD.',
      });
    }
    if (!response.ok && !(method === 'DELETE' && response.status === 404)) {
      // Its reasons quote the request, and the request may hold a password.
      await response.body?.cancel();
      throw new MatcherError(
        'BROKER_UNAVAILABLE',
        `RabbitMQ's management API answered ${response.status} to ${method} ${where}`,
        { remedy: 'transient' },
      );
    }
    return response;
  }

  const change = async (method: string, path: string[], body?: unknown) => {
    await (await call(method, path, body)).body?.cancel();
  };

  const provisionUser = async (vhost: string, user: string, userPassword: string) => {
    await change('PUT', ['users', user], { password: userPassword, tags: '' });
    await change('PUT', ['permissions', vhost, user], { configure: '.*', write: '.*', read: '.*' });
  };

  return {
    async check() {
      const { tags } = (await (await call('GET', ['whoami'])).json()) as { tags?: string | string[] };
      // A list from RabbitMQ 3.9 on, a text with commas before.
      if (![tags ?? []].flat().join(',').split(',').includes('administrator')) {
        throw new MatcherError('BROKER_REFUSED', `The RabbitMQ user ${administrator} is no administrator`, {
          hint: 'Give RABBITMQ_USER the tag "administrator".',
        });
      }
    },
    async provisionVhost(vhost, user, userPassword) {
      await change('PUT', ['vhosts', vhost], { description: 'Created by the Tenant Manager' });
      await provisionUser(vhost, user, userPassword);
      // Whoever creates a vhost is given all permissions in it; an administrator of vhosts has no business with the messages.
      await change('DELETE', ['permissions', vhost, administrator]);
    },
    provisionUser,
    lockOut: (user) => change('PUT', ['users', user], { password_hash: '', tags: '' }),
    async drop(vhost, users) {
      await change('DELETE', ['vhosts', vhost]);
      for (const user of users) await change('DELETE', ['users', user]);
    },
  };
}
