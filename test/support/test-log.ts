import { createLog, type Logger } from '@matcher/shared/observability/log.ts';

/** A log that writes into `lines` instead of on standard output. */
export function testLog(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const log = createLog({ ENV_NAME: 'test', LOG_LEVEL: 'debug' }, 'test', { write: (line) => void lines.push(line) });
  return { log, lines };
}
