import { setTimeout as delay } from 'node:timers/promises';

/** The Tenant Manager's calls that the torture makes, past every proxy. */

export interface Connections {
  postgres: { host: string; port: number; database: string; schema?: string };
  rabbitmq: { host: string; port: number; vhost: string; username: string; password: string };
}

export class Manager {
  /** Where it is now. */
  address = '';
  readonly #key: string;

  constructor(key: string) {
    this.#key = key;
  }

  async create(tenant: { id: string; name: string; isolation: string }): Promise<void> {
    const owner = { email: 'owner@example.com', emailVerified: true };
    await this.#call('POST', '/v1/tenants', { ...tenant, slug: tenant.id, environment: 'torture', owner });
    await this.#call('POST', `${path(tenant.id)}`, { isolationMode: tenant.isolation });
  }

  async connections(id: string): Promise<Connections> {
    const { databases, rabbitmq } = await this.#call('GET', `${path(id)}/connections`);
    return { postgres: databases.matcher.postgresql, rabbitmq: rabbitmq.matcher };
  }

  async rotate(id: string, credentialType: 'database' | 'broker' | undefined): Promise<void> {
    await this.#call('POST', `${path(id)}/credentials/rotate`, credentialType && { credentialType });
  }

  /** Until it is done: the same call completes one that was broken off. */
  // biome-ignore lint/suspicious/noExplicitAny: the protocol says what each answer is
  async #call(method: string, call: string, body?: unknown): Promise<any> {
    const headers = { 'x-api-key': this.#key, ...(body !== undefined && { 'content-type': 'application/json' }) };
    const until = Date.now() + 60_000;
    for (;;) {
      let problem: string;
      try {
        const signal = AbortSignal.timeout(20_000);
        const content = body === undefined ? null : JSON.stringify(body);
        const response = await fetch(this.address + call, { method, headers, body: content, signal });
        const answer = await response.json();
        // What was there already was made by a call whose answer got lost.
        if (response.ok || response.status === 409) return answer;
        problem = `${response.status} ${JSON.stringify(answer)}`;
      } catch (error) {
        problem = String(error);
      }
      if (Date.now() > until) throw new Error(`the Tenant Manager does not do ${method} ${call}: ${problem}`);
      await delay(300);
    }
  }
}

const path = (id: string) => `/v1/tenants/${id}/associations/matcher`;
