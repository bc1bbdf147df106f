import { type Services, startServices } from '../../workers/local/services/start.ts';

let shared: Promise<Services> | undefined;
let users = 0;

/** One set of real servers for all test projects, started by the first; test files find them in their environment. */
export async function setup(): Promise<() => Promise<void>> {
  users++;
  shared ??= startServices({ log: (line) => process.stderr.write(`${line}\n`) });
  const services = await shared;
  Object.assign(process.env, services.environment);
  return async () => {
    if (--users === 0) await services.stop();
  };
}
