import cronParser from 'cron-parser';

/** When something is to happen: a cron expression, read in a time zone. */
export interface Schedule {
  readonly cron: string;
  /** IANA name. */
  readonly timezone: string;
}

const fields = 'minute, hour, day of month, month and day of week';

/** What is wrong with a cron expression, as the ending of a sentence about the field; `undefined` for one that fires. */
export function cronProblem(cron: string): string | undefined {
  const got = `; got ${JSON.stringify(cron.length > 60 ? `${cron.slice(0, 60)}…` : cron)}`;
  const count = cron.split(' ').filter((field) => field !== '').length;
  if (count !== 5) return `takes five fields (${fields})${got}`;
  // The library takes more than that, and cron does not: names of whole expressions, "?", "#".
  if (!/^[0-9A-Za-z*/, -]+$/.test(cron))
    return `takes five fields (${fields}) of digits, names, "*", "/", "," and "-"${got}`;
  try {
    firings({ cron, timezone: 'UTC' }, new Date()).next();
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    // Days such as February 30th.
    if (/day of month definition|loop limit/.test(reason)) return `takes a day that there is${got}`;
    return `takes five fields (${fields})${got} (${reason})`;
  }
}

/** Whether it is the name of a time zone. An offset such as "+01:00" is none: it knows no summer time. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/**
 * The first firing after a moment. Where the clocks go forward, a time of day that is left out fires an hour later by the clock, at the moment at which it
 * would have been; where they go back, one that comes twice fires the first time.
 */
export function nextFiring(schedule: Schedule, after: Date): Date {
  return firings(schedule, after).next().toDate();
}

/** The last firing at a moment or before it. */
export function latestFiring(schedule: Schedule, at: Date): Date {
  return firings(schedule, new Date(at.getTime() + 1))
    .prev()
    .toDate();
}

function firings({ cron, timezone }: Schedule, currentDate: Date) {
  return cronParser.parseExpression(cron, { tz: timezone, currentDate });
}
