import type { FastifyInstance } from 'fastify';
import { associate, openPasswords } from './associate.ts';
import { describeAssociations, findAssociation, suspendAssociation } from './associations.ts';
import { connectionSettingsEvent, connectionsOf, durationOf } from './connections.ts';
import { changeLimits } from './limits.ts';
import type { Parts } from './parts.ts';
import { checkProvisioned, Refusal, suspended, unknownTenant } from './refusals.ts';
import { disassociate, purge } from './remove.ts';
import {
  associationOf,
  listQuery,
  newAssociation,
  newLimits,
  newTenant,
  parse,
  removalQuery,
  rotation,
  tenantOf,
} from './requests.ts';
import { rotate } from './rotate.ts';
import {
  deleteTenant,
  findTenant,
  insertTenant,
  listActive,
  listAll,
  livingTenant,
  reactivate,
  suspendTenant,
} from './tenants.ts';

type OfTenant = { Params: { tenantId: string } };
type OfAssociation = { Params: { tenantId: string; service: string } };

/** The contract's calls and our extensions to them, each with its statuses; the errors that they throw are answered by the server. */
export function addRoutes(app: FastifyInstance, parts: Parts): void {
  const { pool, events } = parts;

  app.get('/health', async () => ({ status: 'ok' }));

  app.post('/v1/tenants', async (request, reply) => {
    const wanted = parse(newTenant, request.body);
    const tenant = await insertTenant(pool, wanted);
    if (!tenant) throw new Refusal(409, 'TENANT_EXISTS', 'A tenant with this id or slug exists');
    await events.publish(tenant, 'tenant.created', tenant.createdAt);
    return reply.code(201).send({ id: tenant.id, slug: tenant.slug, status: tenant.status });
  });

  app.get('/v1/tenants/active', async (request) => listActive(pool, parse(listQuery, request.query).service));

  app.get('/v1/tenants', async (request) => listAll(pool, parse(listQuery, request.query).service));

  app.get<OfTenant>('/v1/tenants/:tenantId', async (request) => {
    const tenantId = tenantOf(request.params);
    const tenant = await findTenant(pool, tenantId);
    if (!tenant) throw unknownTenant();
    return { ...tenant, associations: await describeAssociations(pool, tenantId) };
  });

  app.post<OfAssociation>('/v1/tenants/:tenantId/associations/:service', async (request, reply) => {
    const [tenantId, service] = associationOf(request.params);
    const { status } = await associate(parts, tenantId, service, parse(newAssociation, request.body));
    return reply.code(201).send({ serviceName: service, status });
  });

  app.get<OfAssociation>('/v1/tenants/:tenantId/associations/:service/connections', async (request) => {
    const [tenantId, service] = associationOf(request.params);
    const tenant = await livingTenant(pool, tenantId);
    const association = checkProvisioned(service, await findAssociation(pool, tenantId, service));
    if (tenant.status === 'suspended' || association.status === 'suspended') throw suspended();
    const passwords = openPasswords(parts.seal, association);
    if (!passwords) {
      const message = `The tenant's passwords were sealed with another API key; post its association again`;
      throw new Refusal(409, 'CREDENTIALS_UNREADABLE', message);
    }
    return connectionsOf(tenant, association, passwords, parts.settings);
  });

  app.put<OfAssociation>('/v1/tenants/:tenantId/associations/:service/suspend', async (request) => {
    const [tenantId, service] = associationOf(request.params);
    const tenant = await livingTenant(pool, tenantId);
    const at = await suspendAssociation(pool, tenantId, service);
    if (at) {
      const payload = { service_name: service, previous_status: 'active' };
      await events.publish(tenant, 'tenant.service.suspended', at, payload);
    } else {
      checkProvisioned(service, await findAssociation(pool, tenantId, service));
    }
    return { serviceName: service, status: 'suspended' };
  });

  app.put<OfAssociation>('/v1/tenants/:tenantId/associations/:service/connection-settings', async (request) => {
    const [tenantId, service] = associationOf(request.params);
    const limits = parse(newLimits, request.body);
    const {
      status,
      maxOpenConns,
      maxIdleConns,
      statementTimeoutMs: ms,
    } = await changeLimits(parts, tenantId, service, limits);
    const statementTimeout = ms === null ? null : durationOf(ms);
    return { serviceName: service, status, connectionSettings: { maxOpenConns, maxIdleConns, statementTimeout } };
  });

  app.post<OfAssociation>('/v1/tenants/:tenantId/associations/:service/credentials/rotate', async (request) => {
    const [tenantId, service] = associationOf(request.params);
    const { status } = await rotate(parts, tenantId, service, parse(rotation, request.body));
    return { serviceName: service, status };
  });

  app.delete<OfAssociation>('/v1/tenants/:tenantId/associations/:service', async (request) => {
    const [tenantId, service] = associationOf(request.params);
    const remove = parse(removalQuery, request.query).purge ? purge : disassociate;
    const { status } = await remove(parts, tenantId, service);
    return { serviceName: service, status };
  });

  app.delete<OfTenant>('/v1/tenants/:tenantId', async (request) => {
    const tenant = await findTenant(pool, tenantOf(request.params));
    if (!tenant) throw unknownTenant();
    const at = await deleteTenant(pool, tenant.id);
    if (at) await events.publish(tenant, 'tenant.deleted', at);
    return { id: tenant.id, slug: tenant.slug, status: 'deleted' };
  });

  // An extension: reactivation is the tenant's, so its counterpart is there too.
  app.put<OfTenant>('/v1/tenants/:tenantId/suspend', async (request) => {
    const tenant = await livingTenant(pool, tenantOf(request.params));
    const at = await suspendTenant(pool, tenant.id);
    if (at) await events.publish(tenant, 'tenant.suspended', at);
    return { id: tenant.id, slug: tenant.slug, status: 'suspended' };
  });

  app.put<OfTenant>('/v1/tenants/:tenantId/reactivate', async (request) => {
    const tenant = await findTenant(pool, tenantOf(request.params));
    if (!tenant) throw unknownTenant();
    for (const { service, at, ...limits } of await reactivate(pool, tenant.id)) {
      if (service === null) {
        await events.publish(tenant, 'tenant.activated', at);
        continue;
      }
      await events.publish(tenant, 'tenant.service.reactivated', at, {
        service_name: service,
        previous_status: 'suspended',
        re_provisioned: false,
        ...connectionSettingsEvent(limits),
      });
    }
    return { id: tenant.id, slug: tenant.slug, status: 'active' };
  });
}
