import type { Channel, ChannelModel } from 'amqplib';

/**
 * Counts the messages of some queues that wait for a consumer, on a channel of its own: what is wrong with a queue ends the channel, and the
 * broker may answer late or not at all.
 *
 * @returns the counts in the queues' order.
 * @throws what the broker has to say, and when it says nothing within `timeoutMs`.
 */
export async function readyMessages(
  model: ChannelModel,
  queues: readonly string[],
  timeoutMs: number,
): Promise<number[]> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  let channel: Channel | undefined;
  const count = async () => {
    channel = await model.createChannel();
    // Whoever waits for an answer learns of it by the failure of the call.
    channel.on('error', () => {});
    const counts: number[] = [];
    for (const queue of queues) counts.push((await channel.checkQueue(queue)).messageCount);
    return counts;
  };
  try {
    return await Promise.race([count(), late]);
  } finally {
    clearTimeout(timer);
    // Not waited for; a channel that is closed already says so by an error.
    void closeQuietly(channel);
  }
}

async function closeQuietly(channel: Channel | undefined): Promise<void> {
  try {
    await channel?.close();
  } catch {}
}
