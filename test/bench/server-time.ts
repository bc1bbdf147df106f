import { readdirSync, readFileSync } from 'node:fs';
import type { Pool } from 'pg';

/** CPU time (ms) that parts of the system have used so far: where the time goes, whatever else the machine does. */
export interface CpuTime {
  process: number;
  postgres: number;
  rabbitmq: number;
}

/** Linux counts in hundredths of a second. */
const tickMs = 10;

/** @returns a function that says how much was used until now. */
export async function cpuClock(postgres: Pool, managementUrl: string, user: string, password: string) {
  const { rows } = await postgres.query('SELECT pg_backend_pid() AS pid');
  const postmaster = parentOf(rows[0].pid);
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const answer = await fetch(`${managementUrl}/api/nodes`, { headers: { authorization } });
  const [node] = (await answer.json()) as { os_pid: string }[];
  const broker = Number(node?.os_pid);
  return (): CpuTime => {
    const { user: own, system } = process.cpuUsage();
    const backends = children(postmaster).reduce((sum, pid) => sum + used(pid, false), 0);
    return {
      process: (own + system) / 1000,
      postgres: (backends + used(postmaster, true)) * tickMs,
      rabbitmq: used(broker, true) * tickMs,
    };
  };
}

const statOf = (pid: number) => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name may hold anything, parentheses included.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
};

function parentOf(pid: number): number {
  return Number(statOf(pid)?.[1]);
}

function children(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((each) => parentOf(each) === pid);
}

/** proc(5): utime and stime, and those of children that have ended. */
function used(pid: number, withEnded: boolean): number {
  const stat = statOf(pid);
  if (!stat) return 0;
  const fields = withEnded ? [11, 12, 13, 14] : [11, 12];
  return fields.reduce((sum, at) => sum + Number(stat[at]), 0);
}
