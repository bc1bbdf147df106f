import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

interface ProcessState {
  pid: number;
  state: string;
  parent: number;
  group: number;
}

/** The process, everything that descends from it, and whoever shares its process group. */
export function familyOf(leader: number): number[] {
  const family = new Set([leader]);
  const entries = existsSync('/proc') ? readdirSync('/proc') : [];
  const everybody = entries.flatMap((entry) => (/^\d+$/.test(entry) ? (stateOf(Number(entry)) ?? []) : []));
  // A parent may come after its child in the list, so it takes as many passes as there are generations.
  for (let size = 0; size !== family.size; ) {
    size = family.size;
    for (const { pid, parent, group } of everybody) if (family.has(parent) || group === leader) family.add(pid);
  }
  return [...family];
}

/** A dead process that its parent has not looked at yet still takes signals, but it is dead. */
export function isAlive(pid: number): boolean {
  const state = stateOf(pid)?.state;
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/** Waits until none of the processes is alive; false when that takes longer than `withinMs`. */
export async function gone(pids: readonly number[], withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs;
  while (pids.some(isAlive)) {
    if (Date.now() > deadline) return false;
    await sleep(10);
  }
  return true;
}

function stateOf(pid: number): ProcessState | undefined {
  try {
    // "pid (name) state parent group …", where the name may contain spaces and parentheses.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent, group] = fields.slice(fields.lastIndexOf(') ') + 2).split(' ');
    return { pid, state, parent: Number(parent), group: Number(group) };
  } catch {
    return undefined;
  }
}
