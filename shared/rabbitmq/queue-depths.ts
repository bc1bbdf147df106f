import type { Channel, ChannelModel } from 'amqplib';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import { type JobType, jobTypes } from '../jobs/contracts/job-types.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';
import { closeConnection, connectVhost } from './connect-vhost.ts';
import { deadLetters, delayExchange, delays, jobQueue } from './topology.ts';

/** Messages in a tenant's queues; those that a process holds, at work or prefetched, are not among them. */
export interface QueueDepths {
  readonly jobs: Record<JobType, number>;
  /** Put off, and back in their queues within seconds. */
  readonly delayed: number;
  readonly dead: number;
}

/**
 * Counts what waits in a vhost, and changes nothing there: a queue that nobody has declared yet holds nothing.
 *
 * @throws MatcherError `BROKER_UNAVAILABLE` when it does not answer within `timeoutMs`, `BROKER_REFUSED` when it does not let us in.
 */
export async function readQueueDepths(target: RabbitmqTarget, timeoutMs: number): Promise<QueueDepths> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  const connecting = open(target, timeoutMs);
  try {
    return await Promise.race([connecting.then(countAll), late]);
  } catch (cause) {
    if (cause instanceof MatcherError) throw cause;
    const reason = errorMessage(cause);
    // A vhost that is not ours, or not there, ends the handshake in amqplib's own words.
    if (/ACCESS.REFUSED|got <ConnectionClose/.test(reason)) {
      throw new MatcherError('BROKER_REFUSED', 'The broker refuses the tenant’s credentials or its vhost', { cause });
    }
    throw new MatcherError('BROKER_UNAVAILABLE', `The broker cannot be asked (${errorCode(cause)}: ${reason})`, {
      remedy: 'not-now',
      cause,
    });
  } finally {
    clearTimeout(timer);
    // Not waited for: a broker that has gone silent does not say goodbye.
    connecting.then(closeConnection).catch(() => {});
  }
}

async function open(target: RabbitmqTarget, timeoutMs: number): Promise<ChannelModel> {
  const model = await connectVhost(target, 'matcher tenants', timeoutMs);
  // Whoever waits for an answer learns of it by the failure of the call.
  model.on('error', () => {});
  return model;
}

async function countAll(model: ChannelModel): Promise<QueueDepths> {
  let channel: Channel | undefined;
  const depth = async (queue: string): Promise<number> => {
    if (!channel) {
      channel = await model.createChannel();
      channel.on('error', () => {});
    }
    try {
      return (await channel.checkQueue(queue)).messageCount;
    } catch (error) {
      if (!/NOT.FOUND/.test(errorMessage(error))) throw error;
      // The broker closes the channel on which a queue was missing.
      channel = undefined;
      return 0;
    }
  };
  const jobs = {} as Record<JobType, number>;
  for (const type of jobTypes) jobs[type] = await depth(jobQueue(type));
  let delayed = 0;
  for (const seconds of delays) delayed += await depth(delayExchange(seconds));
  return { jobs, delayed, dead: await depth(deadLetters) };
}
