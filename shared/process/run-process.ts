import { ConfigError, loadSettings, type Role } from '../config/load.ts';
import type { Settings } from '../config/variables.ts';
import { errorMessage } from '../errors.ts';
import { createLog, type Logger } from '../observability/log.ts';

/** What a process is once it runs. */
export interface Running {
  /** Ends the work in an orderly way. */
  stop(): Promise<void>;
  /** Rejects when this process can't do its work any more and a new one has to begin anew. */
  readonly broken?: Promise<never>;
}

/** Exit statuses: 2 for a configuration that can't work, as for a command line that can't be understood. */
const badConfiguration = 2;

/**
 * The life of every process: settings, start, and an orderly stop at SIGTERM, SIGINT or the death of the process that started it. A second signal ends
 * it at once, and so does one during the start, when it has taken on nothing yet. Never returns.
 */
export async function runProcess(
  name: string,
  role: Role,
  start: (settings: Settings, log: Logger) => Promise<Running>,
): Promise<void> {
  let settings: Settings;
  try {
    settings = loadSettings(role);
  } catch (error) {
    process.stderr.write(`${name}: ${errorMessage(error)}\n`);
    process.exit(error instanceof ConfigError ? badConfiguration : 1);
  }
  const log = createLog(settings, name);
  // A promise that nobody looked at is a bug, and no reason to end the work of all tenants.
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
  const { promise: toldToStop, resolve: stop } = Promise.withResolvers<string>();
  let told = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (told) process.exit(1);
      told = true;
      stop(signal);
    });
  }
  process.once('disconnect', () => stop('the parent is gone'));
  try {
    const running = await Promise.race([start(settings, log), toldToStop.then(() => undefined)]);
    let status = 0;
    try {
      const reason = await Promise.race([toldToStop, ...(running?.broken ? [running.broken] : [])]);
      log.info({ reason }, running ? 'stopping' : 'stopping during the start');
    } catch (error) {
      // What still works is brought to its end.
      log.fatal({ err: error }, 'stopping because of an error');
      status = 1;
    }
    await running?.stop();
    log.info('stopped');
    process.exit(status);
  } catch (error) {
    log.fatal({ err: error }, 'ended by an error');
    process.exit(1);
  }
}
