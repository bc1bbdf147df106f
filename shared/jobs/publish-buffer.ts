import { MatcherError } from '../errors.ts';
import { type OutgoingMessage, publishConfirmed } from '../rabbitmq/publish.ts';
import type { VhostConnection } from '../rabbitmq/vhost-connection.ts';

/** Messages that wait for a broker that is away. */
const waitingAtMost = 1000;

/** How often (ms) it is looked whether the broker has confirmed anything, and after how many looks in vain it counts as away. */
const lookInterval = 250;
const looksInVain = 4;

/** Publishes, and keeps what waits for a broker that is away from growing: whoever publishes faster than the broker takes has to hear of it. */
export class PublishBuffer {
  readonly #connection: VhostConnection;
  #waiting = 0;
  /** Looks since the last confirmation. Counted, not timed: a busy event loop hears of confirmations late, which is not the broker's silence. */
  #inVain = 0;
  #looking: NodeJS.Timeout | undefined;

  constructor(connection: VhostConnection) {
    this.#connection = connection;
  }

  /** @throws MatcherError `PUBLISHER_BUFFER_FULL`, and as `publishConfirmed` does. */
  async publish(message: OutgoingMessage): Promise<void> {
    const away = !this.#connection.connected || this.#inVain >= looksInVain;
    if (away && this.#waiting >= waitingAtMost) {
      throw new MatcherError('PUBLISHER_BUFFER_FULL', `${this.#waiting} messages wait for the broker already`, {
        hint: 'The broker does not take them: publish again when earlier calls have returned.',
        remedy: 'not-now',
      });
    }
    this.#waiting++;
    this.#looking ??= setInterval(() => this.#inVain++, lookInterval);
    try {
      await publishConfirmed(this.#connection, message);
      this.#inVain = 0;
    } finally {
      if (--this.#waiting === 0) this.#rest();
    }
  }

  #rest(): void {
    clearInterval(this.#looking);
    this.#looking = undefined;
    this.#inVain = 0;
  }
}
