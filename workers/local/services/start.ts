import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { checks } from './checks.ts';
import { dockerAnswers } from './docker.ts';
import {
  addressVariables,
  type Environment,
  givenService,
  type ServiceName,
  ServicesError,
  serviceNames,
  serviceTitles,
} from './environment.ts';

export type ServicesSource = 'environment' | 'docker' | 'private';

export interface Services {
  /** The variables through which the fleet's processes find the services: POSTGRES_*, REDIS_*, RABBITMQ_*, OBJECT_STORAGE_*. */
  environment: Environment;
  /** Where those came from that the environment did not give. */
  source: ServicesSource;
  /** Ends what was started and removes its data; resolves when nothing of it is left. May be called more than once. */
  stop(): Promise<void>;
}

export interface StartServicesOptions {
  /** Where addresses are looked for. Default: this process's environment. */
  environment?: Readonly<Record<string, string | undefined>>;
  /** Receives progress, one line at a time. Default: nobody does. */
  log?: (line: string) => void;
  /** Ends a start that is under way; the returned promise then rejects once nothing is left of it. */
  signal?: AbortSignal;
}

/**
 * Finds or starts PostgreSQL, Redis, RabbitMQ and an S3 server: each from its address in the environment, else from Docker,
 * else as a private instance of a system package. What is started ends with this process, however that ends.
 *
 * @throws {ServicesError} with what is wrong and what to do, after everything that had been started is gone again
 */
export async function startServices(options: StartServicesOptions = {}): Promise<Services> {
  const { environment: given = process.env, log = () => {}, signal } = options;
  signal?.throwIfAborted();
  const environment: Environment = {};
  const wanted: ServiceName[] = [];
  for (const name of serviceNames) {
    const service = givenService(name, given);
    if (service) Object.assign(environment, service);
    else wanted.push(name);
  }
  await checkGiven(
    serviceNames.filter((name) => !wanted.includes(name)),
    environment,
  );
  if (wanted.length === 0) return { environment, source: 'environment', stop: async () => {} };
  const source = (await dockerAnswers(log)) ? 'docker' : 'private';
  const kept = await startKeeper(source, wanted, log, signal);
  return { environment: { ...environment, ...kept.environment }, source, stop: kept.stop };
}

/** All problems at once: whoever fixes addresses wants the whole list. */
async function checkGiven(names: readonly ServiceName[], environment: Environment): Promise<void> {
  const results = await Promise.allSettled(names.map((name) => checks[name](environment)));
  const problems = results.flatMap((result, index) => {
    const name = names[index];
    if (result.status === 'fulfilled' || !name) return [];
    const variable = addressVariables[name];
    const reason = result.reason?.message || result.reason?.code || result.reason?.name;
    return [`${variable}=${environment[variable]}: ${serviceTitles[name]} cannot be used: ${reason}`];
  });
  if (problems.length === 0) return;
  throw new ServicesError([...problems, 'Correct these variables, or unset them to have a server started.'].join('\n'));
}

async function startKeeper(
  source: 'docker' | 'private',
  services: readonly ServiceName[],
  log: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<Pick<Services, 'environment' | 'stop'>> {
  const keeper = spawn(process.execPath, [join(import.meta.dirname, 'keeper.ts'), source, ...services], {
    // In a session of its own: Ctrl-C in a terminal is for us, and the servers must outlive it until we have drained.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = once(keeper, 'exit');
  const progress = createInterface({ input: keeper.stderr });
  progress.on('line', log);
  keeper.stdin.on('error', () => {});
  const stop = async () => {
    keeper.ref();
    keeper.stdin.end();
    await ended;
  };
  const abort = () => void stop();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const line = await Promise.race([once(createInterface({ input: keeper.stdout }), 'line'), ended.then(() => [])]);
    const answer = JSON.parse(line[0] ?? '{}') as { environment?: Environment; error?: string };
    signal?.throwIfAborted();
    if (!answer.environment) {
      throw new ServicesError(answer.error ?? 'the process that starts the services ended without an answer');
    }
    // From here on the keeper must not keep this process alive: it ends with it.
    keeper.unref();
    return { environment: answer.environment, stop };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
