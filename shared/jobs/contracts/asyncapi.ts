import { z } from 'zod';
import { deathHeaders, retryHeaders } from '../../rabbitmq/settle.ts';
import { deadLetters, eventsExchange, jobQueue, jobsExchange } from '../../rabbitmq/topology.ts';
import { idempotencyHeader, tenantHeader } from '../message.ts';
import { jobBodies, jobId } from './bodies.ts';
import { completionEvents, eventSchemas } from './events.ts';
import { jobTypes } from './job-types.ts';

/** Of the AMQP bindings (github.com/asyncapi/bindings, amqp). */
const bindingVersion = '0.3.0';

const vhost = '{vhost}';
const json = 'application/json';

/** What every job's body says of itself; the contracts change by a new one. */
const contractVersion = '1.0.0';

const tenantId = { type: 'string', description: 'The tenant’s id; both spellings of a UUID are the same tenant.' };

const jobHeaders = {
  type: 'object',
  required: [tenantHeader],
  properties: {
    [tenantHeader]: tenantId,
    [idempotencyHeader]: {
      type: 'string',
      pattern: '^[\\x21-\\x7e]{1,255}$',
      description:
        'The publisher’s own name for what it asks for. While it is remembered, another job of the type with the same one is not done, and ends as the first does.',
    },
  },
};

const retried = {
  [retryHeaders.attempt]: { type: 'integer', description: 'Of a message that was put off: the attempt that ended.' },
  [retryHeaders.code]: { type: 'string', description: 'Why it was put off.' },
  [retryHeaders.reason]: { type: 'string' },
};

const deadHeaders = {
  type: 'object',
  description:
    'Those of the message as it was published, and why it is here. A message that the broker itself gave up has only RabbitMQ’s own x-death.',
  properties: {
    ...jobHeaders.properties,
    [deathHeaders.code]: { type: 'string', description: 'CONTEXT_NOT_FOUND, TENANT_MISMATCH, …' },
    [deathHeaders.reason]: { type: 'string' },
    [deathHeaders.attempt]: { type: 'integer', minimum: 0, description: 'Attempts that were charged.' },
    [deathHeaders.at]: { type: 'string', format: 'date-time' },
    [deathHeaders.routingKey]: { type: 'string', description: 'With which it was published.' },
    'x-death': { type: 'array', items: { type: 'object' }, description: 'RabbitMQ’s own record, if it has one.' },
  },
};

const eventHeaders = { type: 'object', required: [tenantHeader], properties: { [tenantHeader]: tenantId } };

/** Everything that goes through a tenant's vhost, as an AsyncAPI 3.0 document (asyncapi.com/docs/reference/specification/v3.0.0), from the workers' side. */
export function asyncapiDocument(): object {
  const events = Object.keys(eventSchemas());
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Matcher workers',
      version: contractVersion,
      description:
        'Jobs that are published to the workers, the events that they send, and the messages that they could not do anything with. Each tenant has a vhost of its own with all of it. ' +
        'Seen from the workers: what they receive, a publisher sends.',
    },
    defaultContentType: json,
    servers: {
      tenant: {
        host: '{host}:{port}',
        pathname: `/${vhost}`,
        protocol: 'amqp',
        protocolVersion: '0.9.1',
        description: 'The vhost of one tenant, as the Tenant Manager says. With TLS the scheme is amqps.',
        variables: {
          host: { description: 'RabbitMQ’s host.' },
          port: { default: '5672' },
          vhost: { description: 'The tenant’s vhost.' },
        },
        security: [{ $ref: '#/components/securitySchemes/tenantUser' }],
        bindings: { amqp: {} },
      },
    },
    channels: {
      ...byName(jobTypes, jobChannel),
      ...byName(events, eventChannel),
      [deadLetters]: deadChannel(),
    },
    operations: {
      ...byName(jobTypes, jobOperation, (type) => `work.${type}`),
      ...byName(events, eventOperation, (type) => `announce.${type}`),
      [`bury.${deadLetters}`]: {
        action: 'send',
        summary: 'Puts aside what can’t be done, as it was, with the reason in its headers.',
        channel: { $ref: `#/channels/${deadLetters}` },
        bindings: { amqp: { deliveryMode: 2, mandatory: true, bindingVersion } },
      },
    },
    components: {
      messages: {
        ...byName(jobTypes, jobMessage),
        ...byName(events, eventMessage),
        [deadLetters]: {
          title: 'Dead letter',
          contentType: json,
          headers: deadHeaders,
          payload: { description: 'The body as it was published; it may be anything.' },
        },
      },
      securitySchemes: { tenantUser: { type: 'userPassword', description: 'A user that reaches only this vhost.' } },
    },
  };
}

function jobChannel(type: string): object {
  return {
    address: type,
    summary: `Jobs of the type ${type}.`,
    description: `The address is the routing key on the direct exchange ${jobsExchange}; the queue is ${jobQueue(type)}.`,
    messages: { [type]: { $ref: `#/components/messages/${type}` } },
    bindings: exchange(jobsExchange, 'direct'),
  };
}

function eventChannel(type: string): object {
  return {
    address: type,
    description: `The address is the routing key on the topic exchange ${eventsExchange}: bind a queue of your own.`,
    messages: { [type]: { $ref: `#/components/messages/${type}` } },
    bindings: exchange(eventsExchange, 'topic'),
  };
}

function deadChannel(): object {
  return {
    address: deadLetters,
    summary: 'What could not be done.',
    description: 'matcher dead lists, shows, replays and drops it.',
    messages: { [deadLetters]: { $ref: `#/components/messages/${deadLetters}` } },
    bindings: {
      amqp: {
        is: 'queue',
        queue: { name: deadLetters, durable: true, exclusive: false, autoDelete: false, vhost },
        bindingVersion,
      },
    },
  };
}

function exchange(name: string, type: 'direct' | 'topic'): object {
  const described = { name, type, durable: true, autoDelete: false, vhost };
  return { amqp: { is: 'routingKey', exchange: described, bindingVersion } };
}

function jobOperation(type: string): object {
  return {
    action: 'receive',
    summary: `Does a ${type}.`,
    channel: { $ref: `#/channels/${type}` },
    bindings: { amqp: { ack: true, bindingVersion } },
  };
}

function eventOperation(type: string): object {
  return {
    action: 'send',
    channel: { $ref: `#/channels/${type}` },
    bindings: { amqp: { deliveryMode: 2, mandatory: false, bindingVersion } },
  };
}

function jobMessage(type: (typeof jobTypes)[number]): object {
  const { completed, failed } = completionEvents[type];
  return {
    title: type,
    summary: `Ends with the event ${completed}, ${failed} or job.cancelled.`,
    contentType: json,
    headers: { ...jobHeaders, properties: { ...jobHeaders.properties, ...retried } },
    payload: schemaOf(jobBodies[type], 'input'),
    bindings: { amqp: { contentEncoding: 'utf-8', messageType: type, bindingVersion } },
    'x-amqp-properties': {
      type: { const: type },
      message_id: { ...schemaOf(jobId, 'input'), description: 'The job’s id: the same one again is the same job.' },
      content_type: { const: json },
      delivery_mode: { const: 2 },
    },
  };
}

function eventMessage(type: string): object {
  return {
    title: type,
    contentType: json,
    headers: eventHeaders,
    payload: schemaOf(eventSchemas()[type] as z.ZodType, 'output'),
    bindings: { amqp: { contentEncoding: 'utf-8', messageType: type, bindingVersion } },
    'x-amqp-properties': {
      type: { const: type },
      message_id: {
        type: 'string',
        format: 'uuid',
        description: 'The event’s eventId: one that comes twice has it twice.',
      },
    },
  };
}

/** In the draft that AsyncAPI's own schemas are a superset of. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _draft, ...rest } = z.toJSONSchema(schema, { target: 'draft-7', io, unrepresentable: 'any' });
  return rest;
}

function byName<N extends string>(
  names: readonly N[],
  make: (name: N) => object,
  nameOf: (name: N) => string = (name) => name,
): Record<string, object> {
  return Object.fromEntries(names.map((name) => [nameOf(name), make(name)]));
}
