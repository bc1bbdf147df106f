import type { DeadLetter } from '@matcher/shared/rabbitmq/dead-letter.ts';
import type { ConsumeMessage } from 'amqplib';
import { grouped, manyLines, namedValues, oneLine, table } from './terminal-text.ts';

/** Dead letters for a person, and as documents. */

/** Bytes of a body that are shown. */
const shownBytes = 64 * 1024;
/** Characters of a reason that fit beside the rest. */
const shownReason = 80;

export function deadTable(letters: readonly DeadLetter[]): string {
  return table(
    ['JOB', 'TYPE', 'CODE', 'ATTEMPT', 'DIED', 'REASON'],
    letters.map(({ jobId, type, code, attempt, at, reason }) => [
      short(jobId ?? '(no id)', 64),
      short(type ?? '', 40),
      short(code, 40),
      attempt ?? '',
      short(at?.replace(/\.\d+Z$/, 'Z') ?? '', 30),
      short(reason ?? '', shownReason),
    ]),
  );
}

/** `12 CONTEXT_NOT_FOUND, 1 TENANT_MISMATCH`, most frequent first. */
export function countsText(counts: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return sorted.map(([code, count]) => oneLine(`${grouped(count)} ${short(code, 60)}`)).join(', ');
}

export interface ShownBody {
  /** Text when it is UTF-8, else hexadecimal digits. */
  encoding: 'utf-8' | 'hex';
  text: string;
  /** Whether it goes on. */
  truncated: boolean;
}

/** All of a dead letter, its body up to 64 KiB. */
export function deadDocument(letter: DeadLetter, { properties, content }: ConsumeMessage) {
  const { headers = {}, ...own } = properties;
  const set = Object.entries(own).filter(([, value]) => value !== undefined && value !== null);
  return { ...letter, properties: Object.fromEntries(set), headers, body: shownBody(content) };
}

export function deadDetailsText(document: ReturnType<typeof deadDocument>): string {
  const { jobId, type, routingKey, tenantHeader, code, reason, attempt, at, bytes, properties, headers, body } =
    document;
  const lines = namedValues([
    ['job', jobId ?? '(no message_id)'],
    ['type', type],
    ['code', code],
    ['reason', reason],
    ['attempt', attempt],
    ['died', at],
    ['routing key', routingKey],
    ['says its tenant', tenantHeader ?? '(no X-Tenant-ID)'],
  ]);
  const size = `${grouped(bytes)} bytes, ${body.encoding}${body.truncated ? `, the first ${grouped(shownBytes)}` : ''}`;
  return manyLines(
    [
      ...lines,
      `properties:\n${JSON.stringify(properties, null, 2)}`,
      `headers:\n${JSON.stringify(headers, null, 2)}`,
      `body (${size}):\n${body.text}`,
    ].join('\n'),
  );
}

function shownBody(content: Buffer): ShownBody {
  const part = content.subarray(0, shownBytes);
  const truncated = content.length > part.length;
  try {
    // The cut may go through a character, which is not an error of the message.
    const text = new TextDecoder('utf-8', { fatal: true }).decode(part, { stream: truncated });
    return { encoding: 'utf-8', text, truncated };
  } catch {
    return { encoding: 'hex', text: part.toString('hex'), truncated };
  }
}

function short(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
