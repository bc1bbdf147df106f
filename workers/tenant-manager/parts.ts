import type { Settings } from '@matcher/shared/config/variables.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import type { Pool } from 'pg';
import type { LifecycleEvents } from './lifecycle-events.ts';
import type { PasswordSeal } from './passwords.ts';
import type { Broker } from './provision-vhost.ts';

/** What the Tenant Manager works with; made once at the start. */
export interface Parts {
  readonly settings: Settings;
  readonly log: Logger;
  readonly pool: Pool;
  readonly broker: Broker;
  readonly seal: PasswordSeal;
  readonly events: LifecycleEvents;
}
