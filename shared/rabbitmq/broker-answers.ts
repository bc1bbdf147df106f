import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';

/** A question that was put to a broker on one of its connections. */
export interface Question {
  /** The answer has come. */
  answered(): void;
  /**
   * Whether it is the connection's fault that none has come: one that was put later, on another connection, was answered; or there was no other that could
   * tell. A broker that answers nobody is busy, and connecting anew would only keep it busier.
   */
  isOvertaken(): boolean;
}

/** The questions that one process puts to each broker, in their order. */
export class BrokerAnswers {
  readonly #brokers = new Map<string, { put: number; answered: number }>();

  put({ host, port }: Pick<RabbitmqTarget, 'host' | 'port'>): Question {
    const key = `${host}:${port}`;
    const broker = this.#brokers.get(key) ?? { put: 0, answered: 0 };
    this.#brokers.set(key, broker);
    const number = ++broker.put;
    return {
      answered() {
        broker.answered = Math.max(broker.answered, number);
      },
      isOvertaken: () => broker.answered > number || broker.put === number,
    };
  }
}
