import { setTimeout as delay } from 'node:timers/promises';
import type { Channel, ConsumeMessage } from 'amqplib';
import { errorMessage, MatcherError } from '../errors.ts';
import { type DeadLetter, describeDeadLetter } from './dead-letter.ts';
import { deadLetters } from './topology.ts';
import { acknowledgementPause, type VhostConnection } from './vhost-connection.ts';

/** A dead letter that nobody else sees until it is removed or the reading has ended. */
export interface HeldLetter {
  readonly letter: DeadLetter;
  readonly message: ConsumeMessage;
  remove(): void;
}

/** Messages that the broker sends before the reader has taken any, and by how many their number grows when all are held. */
const batch = 1000;

/** How often (ms) a queue that sends nothing is asked what it has, and how long it may say that it has something. */
const idle = 250;
const patience = 30_000;

/** How long (ms) the return of what was read is waited for, and how often it is asked after. */
const returnTimeout = 2000;
const returnPause = 5;

/**
 * Has `work` read the dead letters that are there at the beginning, oldest first. Reading destroys nothing: what `work` did not remove is back in its
 * place when it has ended, in whatever way. What a neighbour reads at the same moment is not seen.
 *
 * @throws MatcherError `BROKER_UNAVAILABLE`, and what `work` throws.
 */
export async function readDeadLetters<T>(
  connection: VhostConnection,
  work: (letters: AsyncIterable<HeldLetter>) => Promise<T>,
): Promise<T> {
  const reading = await openReading(connection);
  try {
    return await work(lettersOf(reading));
  } finally {
    await reading.giveBack();
  }
}

async function* lettersOf(reading: Reading): AsyncGenerator<HeldLetter, void, void> {
  const { channel, arrived } = reading;
  try {
    await channel.prefetch(batch);
    let silentSince = Date.now();
    for (let left = await reading.ready(); left > 0; ) {
      reading.check();
      const message = arrived.shift();
      if (message) {
        left--;
        silentSince = Date.now();
        yield reading.hold(message);
      } else if (reading.full) {
        // The broker sends a consumer no more than its prefetch: for what lies behind it, there has to be another one.
        await reading.consume();
      } else {
        await reading.next(idle);
        if (arrived.length > 0) continue;
        if ((await reading.ready()) === 0 && arrived.length === 0) return;
        if (Date.now() - silentSince > patience) throw new Error(`no message within ${patience} ms`);
      }
    }
  } catch (cause) {
    throw unreadable(cause);
  }
}

type Reading = Awaited<ReturnType<typeof openReading>>;

async function openReading(connection: VhostConnection) {
  const channel = await openChannel(connection);
  const arrived: ConsumeMessage[] = [];
  const tags: string[] = [];
  let held = 0;
  let removed = false;
  let failure: unknown;
  let wake = () => {};
  const fail = (error: unknown) => {
    failure ??= error;
    wake();
  };
  channel.on('error', fail);
  channel.on('close', () => fail(new Error('the channel was closed')));
  const take = (message: ConsumeMessage | null) => {
    if (message) arrived.push(message);
    else fail(new Error('the broker cancelled the consumer'));
    wake();
  };
  const check = () => {
    if (failure) throw unreadable(failure);
  };
  const ready = async () => (await channel.checkQueue(deadLetters)).messageCount;
  return {
    channel,
    arrived,
    check,
    ready,
    /** Whether the broker has sent all that it sends without another consumer. */
    get full() {
      return held >= tags.length * batch;
    },
    async consume() {
      tags.push((await channel.consume(deadLetters, take)).consumerTag);
    },
    /** Waits for something to happen, at most so many milliseconds. */
    async next(ms: number) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      wake = resolve;
      await promise;
      clearTimeout(timer);
    },
    hold(message: ConsumeMessage): HeldLetter {
      held++;
      const remove = () => {
        check();
        channel.ack(message);
        held--;
        removed = true;
      };
      return { letter: describeDeadLetter(message), message, remove };
    },
    async giveBack() {
      try {
        // Returned while it is consumed, a message would only come again.
        for (const tag of tags) await channel.cancel(tag);
        const returned = held + arrived.length;
        const before = await ready();
        channel.nackAll(true);
        if (removed) await delay(acknowledgementPause);
        // Whoever looks next must find them; a neighbour may have taken some in the meantime.
        const deadline = Date.now() + returnTimeout;
        while ((await ready()) < before + returned && Date.now() < deadline) await delay(returnPause);
        await channel.close();
      } catch {
        // With the channel gone, the broker has taken everything back by itself.
      }
    },
  };
}

async function openChannel(connection: VhostConnection): Promise<Channel> {
  await connection.publishChannel();
  const model = connection.link?.model;
  if (!model) throw unreadable(new Error('the connection broke'));
  try {
    return await model.createChannel();
  } catch (cause) {
    throw unreadable(cause);
  }
}

function unreadable(cause: unknown): MatcherError {
  if (cause instanceof MatcherError) return cause;
  return new MatcherError('BROKER_UNAVAILABLE', `The dead letters cannot be read (${errorMessage(cause)})`, {
    remedy: 'not-now',
    cause,
  });
}
