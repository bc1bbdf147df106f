import { Slots } from '../slots.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';

/** Connections to one broker that are being made at the same time. */
const atOnce = 16;

/**
 * Turns at connecting, so that a start or a broker's return is no storm. Each broker has its own: one that is a black hole holds up its own
 * tenants only. And so do newcomers: whoever comes while a thousand reconnect does not stand behind them.
 */
export class ConnectTurns {
  readonly #slots = new Map<string, Slots>();

  /**
   * @returns the function that ends the turn.
   * @throws the signal's reason when it is aborted first.
   */
  take({ host, port }: RabbitmqTarget, lane: 'newcomer' | 'return', signal: AbortSignal): Promise<() => void> {
    const key = `${lane} ${host}:${port}`;
    let slots = this.#slots.get(key);
    if (!slots) {
      slots = new Slots(atOnce);
      this.#slots.set(key, slots);
    }
    return slots.acquire(signal);
  }
}
