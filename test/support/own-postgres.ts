import { chmodSync, mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { queryPostgres } from '../../workers/local/services/checks.ts';
import { dockerAnswers, dockerDeployment } from '../../workers/local/services/docker.ts';
import type { Environment } from '../../workers/local/services/environment.ts';
import { ensurePackages, postgresProgram } from '../../workers/local/services/packages.ts';
import { startPostgres } from '../../workers/local/services/private-postgres.ts';
import { gone } from '../../workers/local/services/processes.ts';
import { Supervisor } from '../../workers/local/services/supervisor.ts';

/** `fast` ends every session in an orderly way; `immediate` is as good as a crash, after which the server recovers from its log. */
export type PostgresEnd = 'fast' | 'immediate';

/** A PostgreSQL of a test's own, which goes down and comes back with its data. */
export interface OwnPostgres {
  environment: Environment;
  /** Returns when it is gone. In Docker, whose containers change their ports when they are restarted, only its sessions end, in the same two ways. */
  down(how: PostgresEnd): Promise<void>;
  /** Returns when it answers. */
  up(): Promise<void>;
  close(): Promise<void>;
}

const log = (line: string) => void process.stderr.write(`${line}\n`);

export async function startOwnPostgres(): Promise<OwnPostgres> {
  return (await dockerAnswers(log)) ? await inDocker() : await privately();
}

async function privately(): Promise<OwnPostgres> {
  await ensurePackages(['postgres'], log);
  const parent = mkdtempSync(join(tmpdir(), 'matcher-postgres-'));
  // The server's user must reach its own folder in here.
  chmodSync(parent, 0o711);
  // What it says of the server's end is no news here.
  const supervisor = new Supervisor(() => {});
  const close = async () => {
    await supervisor.stop();
    await rm(parent, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  const folder = join(parent, 'postgres');
  const data = join(folder, 'data');
  try {
    const environment = await startPostgres(supervisor, parent, crypto.randomUUID());
    return {
      environment,
      async down(how) {
        const pid = Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);
        process.kill(pid, how === 'fast' ? 'SIGINT' : 'SIGQUIT');
        if (!(await gone([pid], 60_000))) throw new Error('PostgreSQL does not end');
      },
      async up() {
        const server = supervisor.start('postgres', {
          command: postgresProgram('postgres') ?? 'postgres',
          args: ['-D', data],
          user: 'postgres',
          folder,
          stopSignal: 'SIGQUIT',
        });
        await supervisor.ready(server, async () => void (await queryPostgres(environment, 'SELECT 1')));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function inDocker(): Promise<OwnPostgres> {
  const deployment = dockerDeployment(['postgres'], log);
  try {
    const environment = await deployment.start();
    const endings: Record<PostgresEnd, string> = {
      fast: 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()',
      // The death of one session makes the server end all of them and recover.
      immediate: `COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'`,
    };
    return {
      environment,
      down: (how) =>
        queryPostgres(environment, endings[how]).then(
          () => {},
          () => {},
        ),
      async up() {
        while (!(await queryPostgres(environment, 'SELECT 1').catch(() => undefined)));
      },
      close: () => deployment.stop(),
    };
  } catch (error) {
    await deployment.stop();
    throw error;
  }
}
