const iso =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d{2}(?::?\d{2})?)?)?$/;

/**
 * Reads an ISO 8601 day, or a time with its zone; a time without one is UTC. Fractions are kept to the millisecond.
 *
 * @returns milliseconds since 1970-01-01T00:00Z, or `undefined` for what is no date, or one that no calendar has (30 February).
 */
export function parseDate(text: string): number | undefined {
  const match = iso.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour = '0', minute = '0', second = '0', fraction = '', zone = 'Z'] = match;
  const at = [Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second)] as const;
  const milliseconds = Number(fraction.slice(0, 3).padEnd(3, '0'));
  const utc = Date.UTC(...at, milliseconds);
  const read = new Date(utc);
  // Date.UTC carries an impossible day over into the next month, and years below 100 into the 1900s.
  const kept = [
    read.getUTCFullYear(),
    read.getUTCMonth(),
    read.getUTCDate(),
    read.getUTCHours(),
    read.getUTCMinutes(),
    read.getUTCSeconds(),
  ].every((part, index) => part === at[index]);
  const offset = offsetMinutes(zone);
  if (!kept || offset === undefined) return undefined;
  const time = utc - offset * 60_000;
  // A zone can carry a time beyond the years that are written with four digits; what the database takes ends there.
  const utcYear = new Date(time).getUTCFullYear();
  return utcYear >= 1 && utcYear <= 9999 ? time : undefined;
}

/** Minutes east of UTC; none are further than 14 hours (ISO 8601 zones in use: −12:00 to +14:00). */
function offsetMinutes(zone: string): number | undefined {
  if (zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(3).replace(':', '') || '0');
  if (hours > 14 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}
