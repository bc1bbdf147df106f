import type { Channel } from 'amqplib';
import { jobTypes } from '../jobs/contracts/job-types.ts';

/**
 * Everything that must exist in a tenant's vhost. Declared by whoever attaches, worker or publisher, so that neither needs the other to have
 * been there first; declaring it again changes nothing.
 */

/** Direct exchange: a job is published with its type as routing key. */
export const jobsExchange = 'matcher.jobs';
/** Topic exchange: results and progress, with the event's type as routing key. */
export const eventsExchange = 'matcher.events';
/** Fanout exchange and queue of what could not be done. */
export const deadLetters = 'matcher.dead';

export const jobQueue = (type: string): string => `matcher.jobs.${type}`;

/** Seconds a job can be put off. Each is an exchange and a queue whose messages go back to their own job queue when their time is up. */
export const delays = [1, 5, 30] as const;
export const delayExchange = (seconds: number): string => `matcher.delay.${seconds}`;

/** The shortest delay of at least `seconds`, else the longest there is. */
export function delayOf(seconds: number): (typeof delays)[number] {
  return delays.find((delay) => delay >= seconds) ?? (delays.at(-1) as (typeof delays)[number]);
}

/**
 * Deliveries a broker makes before it gives a message up: a net below what the job's record counts, for messages that never get as far as a
 * record. Far above what restarts of processes cost one that was only prefetched. Set explicitly, since the defaults differ (3.10: none, 4.x: 20).
 */
const deliveryLimit = 100;
/** A dead letter is read as often as somebody likes. */
const readLimit = 1_000_000_000;

const quorum = { 'x-queue-type': 'quorum' };
/** A message that moves inside the broker is confirmed by its new queue before it leaves the old one. */
const safely = { 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' };

export async function declareTopology(channel: Channel): Promise<void> {
  await channel.assertExchange(jobsExchange, 'direct', { durable: true });
  await channel.assertExchange(eventsExchange, 'topic', { durable: true });
  await channel.assertExchange(deadLetters, 'fanout', { durable: true });
  await channel.assertQueue(deadLetters, {
    durable: true,
    arguments: { ...quorum, 'x-delivery-limit': readLimit },
  });
  await channel.bindQueue(deadLetters, deadLetters, '');
  for (const type of jobTypes) {
    await channel.assertQueue(jobQueue(type), {
      durable: true,
      deadLetterExchange: deadLetters,
      arguments: { ...quorum, ...safely, 'x-delivery-limit': deliveryLimit },
    });
    await channel.bindQueue(jobQueue(type), jobsExchange, type);
  }
  for (const seconds of delays) {
    await channel.assertExchange(delayExchange(seconds), 'fanout', { durable: true });
    await channel.assertQueue(delayExchange(seconds), {
      durable: true,
      messageTtl: seconds * 1000,
      // No routing key of its own: the job keeps the one it was published with, its type.
      deadLetterExchange: jobsExchange,
      arguments: { ...quorum, ...safely },
    });
    await channel.bindQueue(delayExchange(seconds), delayExchange(seconds), '');
  }
}
