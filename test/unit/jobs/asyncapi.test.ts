import { createRequire } from 'node:module';
import { asyncapiDocument } from '@matcher/shared/jobs/contracts/asyncapi.ts';
import { jobBodies } from '@matcher/shared/jobs/contracts/bodies.ts';
import { eventSchemas } from '@matcher/shared/jobs/contracts/events.ts';
import { jobTypes } from '@matcher/shared/jobs/contracts/job-types.ts';
import { jobProperties } from '@matcher/shared/jobs/message.ts';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';

// biome-ignore lint/suspicious/noExplicitAny: a document, as its readers see it
const document: any = JSON.parse(JSON.stringify(asyncapiDocument()));
const schemaOf3 = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json');

const ajv = () => new Ajv({ strict: false, allErrors: true, validateFormats: false });

/** Every object in it that is a reference, with the path at which it stands. */
function references(value: unknown, path = '#'): [string, string][] {
  if (typeof value !== 'object' || value === null) return [];
  const own = (value as { $ref?: unknown }).$ref;
  if (typeof own === 'string') return [[path, own]];
  return Object.entries(value).flatMap(([name, inner]) => references(inner, `${path}/${name}`));
}

const at = (pointer: string) =>
  pointer
    .slice(2)
    .split('/')
    // biome-ignore lint/suspicious/noExplicitAny: whatever stands there
    .reduce((found: any, name) => found?.[name.replaceAll('~1', '/').replaceAll('~0', '~')], document);

test('the document is one, by the specification’s own schema', () => {
  const validate = ajv().compile(schemaOf3);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
});

test('a document that is none is refused by that schema, bindings included', () => {
  const validate = ajv().compile(schemaOf3);
  const broken = structuredClone(document);
  broken.operations['work.matching.run'].action = 'consume';
  expect(validate(broken)).toBe(false);
  const binding = structuredClone(document);
  binding.channels['matching.run'].bindings.amqp.is = 'topic';
  expect(validate(binding)).toBe(false);
});

test('every reference leads somewhere, and every channel and message is used', () => {
  const all = references(document);
  expect(all.filter(([, target]) => at(target) === undefined)).toEqual([]);
  const targets = new Set(all.map(([, target]) => target));
  const unused = [
    ...Object.keys(document.channels).map((name) => `#/channels/${name}`),
    ...Object.keys(document.components.messages).map((name) => `#/components/messages/${name}`),
  ].filter((pointer) => !targets.has(pointer));
  expect(unused).toEqual([]);
});

test('every job type and every event has its channel, its operation and its message', () => {
  for (const type of jobTypes) {
    expect(document.channels[type]).toMatchObject({
      address: type,
      bindings: { amqp: { exchange: { name: 'matcher.jobs' } } },
    });
    expect(document.operations[`work.${type}`].action).toBe('receive');
  }
  for (const type of Object.keys(eventSchemas())) {
    expect(document.channels[type]).toMatchObject({
      address: type,
      bindings: { amqp: { exchange: { name: 'matcher.events' } } },
    });
    expect(document.operations[`announce.${type}`].action).toBe('send');
  }
});

describe('what the client publishes is what the document says', () => {
  const id = '4f6b2c1e-8d0a-4b7e-9a53-0c1d2e3f4a5b';

  test('the headers and properties of a job', () => {
    const { headers, messageId, type, contentType } = jobProperties(id, 'matching.run', canonicalTenantId(id));
    const message = document.components.messages['matching.run'];
    expect(ajv().validate(message.headers, headers)).toBe(true);
    expect(ajv().validate(message.headers, {})).toBe(false);
    const said = message['x-amqp-properties'];
    expect(ajv().validate(said.message_id, messageId)).toBe(true);
    expect(ajv().validate(said.message_id, 'no id')).toBe(false);
    expect([said.type.const, said.content_type.const]).toEqual([type, contentType]);
  });

  test('the body of a job, and one that is none', () => {
    const { payload } = document.components.messages['matching.run'];
    for (const body of [
      { version: 1, context: 'bank' },
      { version: 1, context: 'bank', mode: 'DRY_RUN' },
      { version: 1 },
      { version: 2, context: 'bank' },
      { version: 1, context: 'bank', colour: 'red' },
    ]) {
      expect(ajv().validate(payload, body)).toBe(jobBodies['matching.run'].safeParse(body).success);
    }
  });

  test('the reasons of a dead letter', () => {
    const { properties } = document.components.messages['matcher.dead'].headers;
    expect(Object.keys(properties)).toEqual(expect.arrayContaining(Object.values(deathHeaders)));
  });
});
