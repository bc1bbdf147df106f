import { BrokerAnswers } from '@matcher/shared/rabbitmq/broker-answers.ts';
import { expect, test } from 'vitest';

const broker = { host: 'a', port: 5672 };

test('a question without an answer is overtaken when one that was put later has been answered', () => {
  const answers = new BrokerAnswers();
  const [first, second] = [answers.put(broker), answers.put(broker)];
  expect(first.isOvertaken()).toBe(false);
  second.answered();
  expect(first.isOvertaken()).toBe(true);
});

test('an answer to an earlier question says nothing', () => {
  const answers = new BrokerAnswers();
  const [first, second, third] = [answers.put(broker), answers.put(broker), answers.put(broker)];
  first.answered();
  expect([second.isOvertaken(), third.isOvertaken()]).toEqual([false, true]);
});

test('where nobody else asks, a connection without an answer is to blame', () => {
  const answers = new BrokerAnswers();
  const only = answers.put(broker);
  const elsewhere = answers.put({ host: 'b', port: 5672 });
  elsewhere.answered();
  expect(only.isOvertaken()).toBe(true);
});
