import { errorCode, errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { Slots } from '../slots.ts';
import { forbidsServing } from './manager-refusals.ts';
import type { TenantId } from './tenant-id.ts';

/** Questions at once. */
const atOnce = 8;

interface Missing {
  /** Since when (monotonic, ms) nobody has said that it is still there. */
  since: number;
  /** When it was last asked for; infinite while it is. */
  askedAt: number;
}

interface MissingTenantsParts {
  /** Asks the Tenant Manager for one tenant. Throws its refusal, or why there is no answer. */
  ask(tenantId: TenantId): Promise<unknown>;
  /** It is gone. */
  gone(tenantId: TenantId): void;
  /** How long (ms) a tenant that can't be asked for must be missing, and an answer is good. */
  patienceMs: number;
  signal: AbortSignal;
  log: Logger;
}

/**
 * The tenants that are served and that the list does not name any more, without an event that says why. A Tenant Manager that has lost half of its
 * list has not suspended half of its tenants: each is asked for by itself, and gone when that is refused. One that answers goes on. Where
 * there is no answer, two lists without it have to agree, with some time between them.
 */
export class MissingTenants {
  readonly #parts: MissingTenantsParts;
  readonly #missing = new Map<TenantId, Missing>();
  readonly #slots = new Slots(atOnce);

  constructor(parts: MissingTenantsParts) {
    this.#parts = parts;
  }

  /** Takes note of who is missing from the latest list. Returns at once: what the questions bring is told later. */
  look(missing: ReadonlySet<TenantId>): void {
    const now = performance.now();
    for (const tenantId of this.#missing.keys()) if (!missing.has(tenantId)) this.#missing.delete(tenantId);
    let asked = 0;
    for (const tenantId of missing) {
      const known = this.#missing.get(tenantId) ?? { since: now, askedAt: Number.NEGATIVE_INFINITY };
      this.#missing.set(tenantId, known);
      if (now - known.askedAt < this.#parts.patienceMs) continue;
      known.askedAt = Number.POSITIVE_INFINITY;
      asked++;
      void this.#ask(tenantId, known);
    }
    if (asked > 0) this.#parts.log.info({ asked }, 'tenants are missing from the list: each is asked for by itself');
  }

  async #ask(tenantId: TenantId, about: Missing): Promise<void> {
    const { ask, gone, patienceMs, signal, log } = this.#parts;
    const release = await this.#slots.acquire(signal).catch(() => undefined);
    // Named again meanwhile, or nobody wants to know any more.
    const stillMissing = () => !signal.aborted && this.#missing.get(tenantId) === about;
    try {
      if (!release || !stillMissing()) return;
      await ask(tenantId);
      if (!stillMissing()) return;
      about.since = performance.now();
      log.warn({ tenantId }, 'the list of active tenants lacks a tenant that is there: it is served on');
    } catch (error) {
      if (!stillMissing()) return;
      const refused = forbidsServing(error);
      if (!refused && performance.now() - about.since < patienceMs) return;
      const why = refused ? 'its own configuration is refused, too' : 'nobody can say anything else';
      log.info(
        { tenantId, code: errorCode(error), reason: errorMessage(error) },
        `the tenant is missing from the list, and ${why}`,
      );
      this.#missing.delete(tenantId);
      gone(tenantId);
    } finally {
      about.askedAt = performance.now();
      release?.();
    }
  }
}
