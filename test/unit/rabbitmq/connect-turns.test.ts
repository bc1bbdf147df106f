import { ConnectTurns } from '@matcher/shared/rabbitmq/connect-turns.ts';
import { expect, test } from 'vitest';

const target = (host: string) => ({ host, port: 5672, vhost: 'v', user: 'u', password: 'p', tls: false });
const never = new AbortController().signal;

test('a thousand tenants that come back at once do not connect at once, and a newcomer or another broker’s tenant does not wait for them', async () => {
  const turns = new ConnectTurns();
  let connecting = 0;
  let most = 0;
  let done = 0;
  const connect = async () => {
    const end = await turns.take(target('a'), 'return', never);
    most = Math.max(most, ++connecting);
    await new Promise(setImmediate);
    connecting--;
    done++;
    end();
  };
  const all = Promise.all(Array.from({ length: 1000 }, connect));
  await turns.take(target('a'), 'newcomer', never);
  await turns.take(target('b'), 'return', never);
  expect(done).toBe(0);
  await all;
  expect(most).toBeLessThanOrEqual(16);
});

test('whoever is stopped while it waits leaves the queue', async () => {
  const turns = new ConnectTurns();
  const held = await Promise.all(Array.from({ length: 16 }, () => turns.take(target('a'), 'return', never)));
  const stop = new AbortController();
  const waiting = turns.take(target('a'), 'return', stop.signal);
  stop.abort(new Error('stopped'));
  await expect(waiting).rejects.toThrow('stopped');
  held[0]?.();
  await turns.take(target('a'), 'return', never);
});
