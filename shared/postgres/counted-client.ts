import { Client, type ClientConfig } from 'pg';
import { type DriverConnection, guardConnection } from './guarded-connection.ts';

/** How long (ms) a server may take to end a connection that is given up. */
const goodbyeMs = 3000;

export interface CountedClient extends Client {
  /** Ends the connection without a word. */
  destroy(): void;
}

/**
 * The driver's client, which asks before it connects.
 *
 * @param permit waits until there may be one connection more, and returns what is to be called when it is gone; what it throws is what `connect` throws.
 * @param failed told of every connection that the server refused or that could not be made.
 */
export function countedClient(
  permit: (client: CountedClient) => Promise<() => void>,
  failed: (error: unknown) => void,
): new (
  config?: ClientConfig,
) => CountedClient {
  return class extends Client implements CountedClient {
    #ended: Promise<void> | undefined;

    constructor(config?: ClientConfig) {
      super(config);
      // Whoever uses it learns of its end by the failure of the query, and an event that nobody hears would end the process.
      this.on('error', () => {});
      guardConnection(this.#driver);
    }

    override connect(): Promise<Client>;
    override connect(callback: ((error: Error) => void) | ((error: null, client: Client) => void)): void;
    override connect(callback?: (error: never, client: Client) => void): Promise<Client> | undefined {
      if (callback) {
        this.#connect(callback as (error: Error | null) => void);
        return undefined;
      }
      return new Promise((resolve, reject) => this.#connect((error) => (error ? reject(error) : resolve(this))));
    }

    #connect(callback: (error: Error | null) => void): void {
      permit(this).then((giveBack) => {
        this.once('end', giveBack);
        super.connect((error: Error | null) => {
          if (error) {
            // Whoever is not let in has no session that could go on, whatever the server calls that, in whichever language.
            if ('severity' in error) error.severity = 'FATAL';
            failed(error);
            // The driver leaves it to the server to close what failed.
            this.destroy();
          }
          callback(error);
        });
      }, callback);
    }

    override end(): Promise<void>;
    override end(callback: (error: Error) => void): void;
    override end(callback?: (error: never) => void): Promise<void> | undefined {
      if (!this.#ended) {
        // A server that has become a black hole does not answer a goodbye.
        const timer = setTimeout(() => this.destroy(), goodbyeMs);
        this.#ended = super.end().finally(() => clearTimeout(timer));
      }
      if (!callback) return this.#ended;
      void this.#ended.then(callback as () => void);
      return undefined;
    }

    destroy(): void {
      this.#driver.stream.destroy();
    }

    get #driver(): DriverConnection {
      return this.connection as unknown as DriverConnection;
    }
  };
}
