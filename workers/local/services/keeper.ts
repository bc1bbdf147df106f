/**
 * The process that owns the servers of a local deployment. It lives as long as its standard input: when that ends, because
 * its caller closed it or died in whatever way, it stops every server, removes their data and ends.
 *
 *   keeper.ts docker|private SERVICE...
 *
 * Standard output carries one line of JSON, `{"environment":{…}}` or `{"error":"…"}`; standard error carries progress.
 */
import { dockerDeployment } from './docker.ts';
import { type ServiceName, ServicesError, serviceNames } from './environment.ts';
import { privateDeployment } from './private.ts';

const [source, ...requested] = process.argv.slice(2);
const services = serviceNames.filter((name) => (requested as ServiceName[]).includes(name));
const log = (line: string) => void process.stderr.write(`${line}\n`);
const deployment = source === 'docker' ? dockerDeployment(services, log) : privateDeployment(services, log);

let stopping: Promise<void> | undefined;
function stop(status: number): Promise<void> {
  stopping ??= deployment
    .stop()
    .catch((error: unknown) => log(`the services could not be stopped cleanly: ${error}`))
    .then(() => process.exit(status));
  return stopping;
}

// A caller that is gone reads nothing any more, and that must not keep us from cleaning up.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
for (const event of ['end', 'close', 'error']) process.stdin.on(event, () => stop(0));
process.stdin.resume();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop(0));
process.on('uncaughtException', (error) => {
  log(String(error.stack));
  stop(1);
});

const answer = await deployment.start().then(
  (environment) => ({ environment }),
  (error: Error) => ({ error: error instanceof ServicesError ? error.message : String(error.stack) }),
);
if (!stopping) {
  await new Promise((resolve) => process.stdout.write(`${JSON.stringify(answer)}\n`, resolve));
  if ('error' in answer) await stop(1);
}
