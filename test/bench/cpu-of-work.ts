import { Pool } from 'pg';
import { administratorOptions } from '../../workers/tenant-manager/administrator.ts';
import type { BenchFleet, BenchWorker } from './fleet.ts';
import { cpuClock } from './server-time.ts';

export interface CpuOfWork {
  /** @returns with what the work returns, the CPU time (ms) that PostgreSQL and one more process used meanwhile: the worker or this one. */
  during<T>(by: 'worker' | 'bench', work: () => Promise<T>): Promise<[result: T, cpuMs: number]>;
  close(): Promise<void>;
}

/** How much is done, whatever else the machine does. */
export async function cpuOfWork({ manager: { settings } }: BenchFleet, worker: BenchWorker): Promise<CpuOfWork> {
  const pool = new Pool({ ...administratorOptions(settings), max: 1 });
  const { RABBITMQ_MANAGEMENT_URL: url = '', RABBITMQ_USER: user = '', RABBITMQ_PASSWORD: password = '' } = settings;
  const clock = await cpuClock(pool, url, user, password);
  const used = async (by: 'worker' | 'bench') => {
    const { process, postgres } = clock();
    if (by === 'bench') return process + postgres;
    return (await worker.metrics())('process_cpu_seconds_total') * 1000 + postgres;
  };
  return {
    async during(by, work) {
      const before = await used(by);
      const result = await work();
      return [result, (await used(by)) - before];
    },
    close: () => pool.end(),
  };
}
