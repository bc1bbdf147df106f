import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel';
import type { Settings } from '../config/variables.ts';
import { errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';

export type BreakerState = 'closed' | 'half-open' | 'open';

const stateNames: Record<CircuitState, BreakerState> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Open]: 'open',
  [CircuitState.Isolated]: 'open',
};

const stateValues: Record<BreakerState, number> = { closed: 0, 'half-open': 1, open: 2 };

/** A call's failure on its way through cockatiel, with what it means there. */
class CallFailed extends Error {
  readonly counts: boolean;
  readonly cancelled: boolean;

  constructor(cause: unknown, counts: boolean, cancelled: boolean) {
    super(errorMessage(cause), { cause });
    this.counts = counts;
    this.cancelled = cancelled;
  }
}

/**
 * Spares a Tenant Manager that fails, and those who would wait for it. After MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD failures in a row every
 * call fails at once; after MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC the next one is the probe, and what becomes of it decides. What a call
 * throws is a failure; what it returns is an answer, and starts the count anew.
 *
 * cockatiel keeps the states. Added here is what it leaves out: it lets callers queue up behind the probe, takes a cancelled probe for a
 * success, and charges what began before the breaker last changed to the state of now.
 */
export class ManagerBreaker {
  readonly #policy;
  #changes = 0;
  #nextProbeAt = 0;

  constructor(settings: Settings, { log, metrics }: { log?: Logger; metrics?: Metrics } = {}) {
    const openMs = settings.MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC * 1000;
    const pause = ({ result }: { result: object }) => {
      // Nothing is known after a probe that was cancelled: the next call is another one.
      const duration = 'error' in result && (result.error as CallFailed).cancelled ? 0 : openMs;
      this.#nextProbeAt = Date.now() + duration;
      return { duration, next: pause };
    };
    this.#policy = circuitBreaker(
      handleWhen((error) => (error as CallFailed).counts),
      {
        breaker: new ConsecutiveBreaker(settings.MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD),
        halfOpenAfter: { next: pause },
      },
    );
    metrics?.breakerState.set(stateValues.closed);
    this.#policy.onStateChange(() => {
      this.#changes++;
      const { state } = this;
      metrics?.breakerState.set(stateValues[state]);
      if (state === 'open') {
        const seen = { state, reason: this.#lastFailure, nextProbeInSec: this.#secondsToProbe };
        log?.warn(seen, 'the circuit breaker of the Tenant Manager changed');
      } else log?.info({ state }, 'the circuit breaker of the Tenant Manager changed');
    });
  }

  get state(): BreakerState {
    return stateNames[this.#policy.state];
  }

  /**
   * @param signal what `call` was given to be cancelled by: that counts neither as a failure nor as an answer.
   * @throws MatcherError `TENANT_MANAGER_UNAVAILABLE` at once, without calling, while the breaker is not closed; else what `call` throws.
   */
  async run<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.state === 'half-open') throw this.#notAsked('a probe is under way');
    const probe = this.state === 'open';
    try {
      const running = this.#policy.execute(() =>
        call().catch((error) => {
          const cancelled = signal?.aborted ?? false;
          throw new CallFailed(error, probe || (!cancelled && began === this.#changes), cancelled);
        }),
      );
      // A probe's own change, to half-open, is made by now.
      const began = this.#changes;
      return await running;
    } catch (error) {
      if (error instanceof CallFailed) throw error.cause;
      if (error instanceof BrokenCircuitError) throw this.#notAsked(`next try in ${this.#secondsToProbe} s`);
      throw error;
    }
  }

  get #secondsToProbe(): number {
    return Math.max(0, Math.ceil((this.#nextProbeAt - Date.now()) / 1000));
  }

  get #lastFailure(): string {
    const { lastFailure } = this.#policy;
    return lastFailure && 'error' in lastFailure ? errorMessage(lastFailure.error) : '';
  }

  #notAsked(next: string): MatcherError {
    const why = `its circuit breaker is ${this.state}, ${next} (last failure: ${this.#lastFailure})`;
    return new MatcherError('TENANT_MANAGER_UNAVAILABLE', `The Tenant Manager is not asked: ${why}`, {
      remedy: 'not-now',
    });
  }
}
