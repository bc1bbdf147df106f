import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { lastLines, runCommand } from './commands.ts';
import { addressVariables, type ServiceName, ServicesError, serviceTitles } from './environment.ts';

/** The programs of a system package, as far as they are installed. */
interface Requirement {
  aptPackage: string;
  service: ServiceName;
  installed(): boolean;
}

/** Debian keeps PostgreSQL's server programs out of PATH, one folder for each major version. */
export function postgresProgram(name: string): string | undefined {
  return newest('/usr/lib/postgresql', join('bin', name)) ?? program(name);
}

/** The script on PATH switches to another user; the real one sits in RabbitMQ's own folder. */
export function rabbitmqServer(): string | undefined {
  return newest('/usr/lib/rabbitmq/lib', join('sbin', 'rabbitmq-server')) ?? program('rabbitmq-server');
}

/** The distribution's Python is the one that sees the distribution's Swift, whatever else stands first on PATH. */
export function systemPython(): string | undefined {
  return existsSync('/usr/bin/python3') ? '/usr/bin/python3' : program('python3');
}

export function program(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/usr/local/bin'];
  return folders.filter(Boolean).flatMap((folder) => executable(join(folder, name)) ?? [])[0];
}

const swiftPackage = '/usr/lib/python3/dist-packages/swift/proxy/server.py';

const requirements: Requirement[] = [
  { aptPackage: 'postgresql', service: 'postgres', installed: () => Boolean(postgresProgram('initdb')) },
  { aptPackage: 'redis-server', service: 'redis', installed: () => Boolean(program('redis-server')) },
  {
    aptPackage: 'rabbitmq-server',
    service: 'rabbitmq',
    installed: () => Boolean(rabbitmqServer() && program('erl') && program('epmd')),
  },
  { aptPackage: 'python3-swift', service: 'objects', installed: () => existsSync(swiftPackage) },
  { aptPackage: 'memcached', service: 'objects', installed: () => Boolean(program('memcached')) },
];

/**
 * Makes sure that the system packages for private instances of `services` are there. Installs what is missing when that is
 * allowed (root, or sudo without a password), and starts or enables none of it.
 */
export async function ensurePackages(services: readonly ServiceName[], log: (line: string) => void): Promise<void> {
  const missing = requirements.filter(({ service, installed }) => services.includes(service) && !installed());
  if (missing.length === 0) return;
  const packages = missing.map(({ aptPackage }) => aptPackage);
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  if (
    process.platform !== 'linux' ||
    !program('apt-get') ||
    (asRoot.length > 0 && (await runCommand('sudo', ['-n', 'true'])).code !== 0)
  ) {
    throw new ServicesError(whatToInstall(missing));
  }
  log(`installing ${packages.join(', ')} with apt-get (once on this machine)`);
  const [command = 'sh', ...args] = [...asRoot, 'sh', '-c', installScript, 'sh', ...packages];
  const { code, output } = await runCommand(command, args);
  const stillMissing = missing.filter(({ installed }) => !installed());
  if (code === 0 && stillMissing.length === 0) return;
  throw new ServicesError(
    `apt-get could not install ${packages.join(', ')}:\n${lastLines(output)}\n\n${whatToInstall(missing)}`,
  );
}

// policy-rc.d is Debian's way to forbid that an installation starts services; one that is there already stays as it is.
// The lock makes a second start wait for the first one's installation instead of removing its policy under its feet.
const installScript = `
export DEBIAN_FRONTEND=noninteractive
exec 9>/run/matcher-packages.lock && flock 9
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d || exit 1
fi
apt-get update -qq || echo 'apt-get update failed: trying with the package lists that are there' >&2
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io "$@" || exit 1
if [ -d /run/systemd/system ]; then
  for package in "$@"; do systemctl disable --quiet "$package" 2>/dev/null; done
fi
exit 0
`;

function whatToInstall(missing: Requirement[]): string {
  const services = [...new Set(missing.map(({ service }) => service))];
  const variables = services.map((service) => addressVariables[service]).join(', ');
  return [
    `${services.map((service) => serviceTitles[service]).join(', ')}: not installed. One of these helps:`,
    `  - sudo apt-get install ${missing.map(({ aptPackage }) => aptPackage).join(' ')}   (Debian, Ubuntu)`,
    '  - a running Docker engine with the compose plugin',
    `  - the address of a running server in ${variables}`,
  ].join('\n');
}

/** The file `path` below the folder of the highest version in `parent`. */
function newest(parent: string, path: string): string | undefined {
  const byVersion = new Intl.Collator('en', { numeric: true });
  const versions = existsSync(parent) ? readdirSync(parent).sort((a, b) => byVersion.compare(b, a)) : [];
  return versions.flatMap((version) => executable(join(parent, version, path)) ?? [])[0];
}

function executable(path: string): string | undefined {
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}
