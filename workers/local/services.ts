import { parseArgs } from 'node:util';
import { ServicesError } from './services/environment.ts';
import { type ServicesSource, startServices } from './services/start.ts';

/** `npm run services`: the services of a deployment without the deployment, for as long as this process runs. */

const help = `Starts PostgreSQL, Redis, RabbitMQ and an S3 server, prints how to reach them, and stops them on Ctrl-C.

  npm run services [-- --json]

  --json   print the environment as one line of JSON instead of export lines
  --help   print this

Each service comes from its address in the environment when there is one (POSTGRES_HOST, REDIS_HOST, RABBITMQ_HOST,
OBJECT_STORAGE_ENDPOINT), else from Docker, else as a private instance of a system package.
`;

const sources: Record<ServicesSource, string> = {
  environment: 'all services are given by the environment; nothing was started',
  docker: 'services run in Docker',
  private: 'services run as private instances of system packages',
};

const say = (line: string) => void process.stderr.write(`${line}\n`);

function readArguments(): { json: boolean; help: boolean } {
  try {
    const { values } = parseArgs({ options: { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
    return { json: values.json ?? false, help: values.help ?? false };
  } catch (error) {
    say(`${(error as Error).message}\nnpm run services -- --help says what there is.`);
    process.exit(2);
  }
}

const options = readArguments();
if (options.help) {
  process.stdout.write(help);
  process.exit(0);
}

const interrupted = new AbortController();
const statuses = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
for (const [signal, status] of Object.entries(statuses)) {
  process.on(signal, () => {
    // A second one changes nothing: the servers end within moments anyway.
    if (interrupted.signal.aborted) return;
    say('stopping');
    process.exitCode = status;
    interrupted.abort();
  });
}

try {
  const services = await startServices({ log: say, signal: interrupted.signal });
  const lines = options.json
    ? [JSON.stringify(services.environment)]
    : Object.entries(services.environment).map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'`);
  process.stdout.write(`${lines.join('\n')}\n`);
  say(`${sources[services.source]}; Ctrl-C stops them`);
  if (!interrupted.signal.aborted) {
    const alive = setInterval(() => {}, 2 ** 30);
    await new Promise((resolve) => interrupted.signal.addEventListener('abort', resolve));
    clearInterval(alive);
  }
  await services.stop();
} catch (error) {
  if (!interrupted.signal.aborted) {
    say(error instanceof ServicesError ? error.message : String((error as Error).stack));
    process.exitCode = 1;
  }
}
process.exit();
