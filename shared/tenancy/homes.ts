import { hash32, stir } from '../hash.ts';

/** How many processes of a kind consume a tenant: one goes on while another one dies or is replaced. */
export const homesPerTenant = 2;

/**
 * Chooses each tenant's homes among the processes that are there, by rendezvous hashing: all processes come to the same choice without asking each
 * other, and one that comes or goes moves no tenants but those that it wins or loses.
 *
 * @returns what says of a tenant whether `self` is one of its homes.
 */
export function homeAmong(self: string, others: Iterable<string>): (tenantId: string) => boolean {
  const own = hash32(self);
  const rivals = Array.from(others, (id) => ({ hash: hash32(id), wins: id > self }));
  return (tenantId) => {
    const tenant = hash32(tenantId);
    const weight = stir(tenant ^ own);
    let ahead = 0;
    for (const { hash, wins } of rivals) {
      const rival = stir(tenant ^ hash);
      if ((rival > weight || (rival === weight && wins)) && ++ahead === homesPerTenant) return false;
    }
    return true;
  };
}
