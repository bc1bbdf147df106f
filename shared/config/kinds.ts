import { isIP } from 'node:net';

/** One environment variable: how its text is read, what it is when absent, and what it is for. */
export interface Variable<T> {
  /** As the documentation's tables say it: `string`, `int`, `port`, `bool`, `url`, `host:port`, `list of name=int`. */
  readonly type: string;
  readonly default: T;
  readonly about: string;
  readonly secret: boolean;
  /** Reads a non-empty text. The error's message completes the sentence "VARIABLE …". */
  read(text: string): T;
}

interface Common<T> {
  default: T;
  about: string;
}

export function string<const D extends string | undefined>(
  options: Common<D> & { oneOf?: readonly string[]; secret?: boolean },
): Variable<string | D> {
  const { oneOf } = options;
  return {
    type: oneOf ? oneOf.join(' \\| ') : 'string',
    default: options.default,
    about: options.about,
    secret: options.secret ?? false,
    read(text) {
      if (oneOf && !oneOf.includes(text)) throw new Error(`is ${JSON.stringify(text)}; it takes ${oneOf.join(', ')}`);
      return text;
    },
  };
}

export function int<const D extends number | undefined>(
  options: Common<D> & { min: number; max?: number },
): Variable<number | D> {
  const max = options.max ?? 2_147_483_647;
  return {
    type: 'int',
    default: options.default,
    about: options.about,
    secret: false,
    read(text) {
      const value = Number(text);
      if (!/^[+-]?\d+$/.test(text) || value < options.min || value > max) {
        throw new Error(`is ${JSON.stringify(text)}; it takes a whole number from ${options.min} to ${max}`);
      }
      return value;
    },
  };
}

/** A TCP port. */
export function port<const D extends number>(options: Common<D>): Variable<number> {
  return { ...int({ ...options, min: 1, max: 65_535 }), type: 'port' };
}

/** A duration in whole seconds; a timer takes no more than 2^31 milliseconds. */
export function seconds(options: Common<number> & { min: number; max?: number }): Variable<number> {
  return int({ max: 2_147_483, ...options });
}

/**
 * Numbers by name: `name=number` with commas between them, each number whole and at least 1. What is not named keeps its default.
 *
 * @param options `nameOf` gives the one spelling under which a name is kept, or `undefined` for what can't be one; `names` says in words what can.
 */
export function numbersByName(
  options: Common<Readonly<Record<string, number>>> & {
    max: number;
    names: string;
    nameOf: (text: string) => string | undefined;
  },
): Variable<ReadonlyMap<string, number>> {
  const { max, names, nameOf } = options;
  return {
    type: 'list of name=int',
    default: new Map(Object.entries(options.default)),
    about: options.about,
    secret: false,
    read(text) {
      const values = new Map<string, number>();
      const problems: string[] = [];
      for (const entry of text.split(',').map((part) => part.trim())) {
        if (entry === '') continue;
        const [, written = '', digits] = /^([^=]*?)\s*=\s*(\d+)$/.exec(entry) ?? [];
        const name = nameOf(written);
        const value = Number(digits);
        if (digits === undefined) problems.push(`${JSON.stringify(entry)} is not name=number`);
        else if (name === undefined) problems.push(`${JSON.stringify(written)} is not ${names}`);
        else if (value < 1 || value > max) problems.push(`${JSON.stringify(entry)} is not from 1 to ${max}`);
        else if (values.has(name)) problems.push(`${JSON.stringify(written)} is there twice`);
        else values.set(name, value);
      }
      if (problems.length > 0) throw new Error(`cannot be read: ${problems.join('; ')}`);
      return new Map([...Object.entries(options.default), ...values]);
    },
  };
}

const truths: Record<string, boolean> = { true: true, '1': true, false: false, '0': false };

export function bool(options: Common<boolean>): Variable<boolean> {
  return {
    type: 'bool',
    default: options.default,
    about: options.about,
    secret: false,
    read(text) {
      const value = truths[text.toLowerCase()];
      if (value === undefined) throw new Error(`is ${JSON.stringify(text)}; it takes true or false`);
      return value;
    },
  };
}

/** An absolute http or https address without credentials in it. */
export function url<const D extends string | undefined>(options: Common<D>): Variable<string | D> {
  return {
    type: 'url',
    default: options.default,
    about: options.about,
    secret: false,
    read(text) {
      const parsed = URL.canParse(text) ? new URL(text) : undefined;
      if (!parsed || !/^https?:$/.test(parsed.protocol)) {
        throw new Error('is no address; it takes http://host:port or https://host:port');
      }
      if (parsed.username !== '' || parsed.password !== '') throw new Error('must not carry credentials');
      return text.replace(/\/+$/, '');
    },
  };
}

/** `host:port`; `:port` means every interface, as Go services write it. */
export function address<const D extends string | undefined>(options: Common<D>): Variable<string | D> {
  return {
    type: 'host:port',
    default: options.default,
    about: options.about,
    secret: false,
    read(text) {
      splitAddress(text);
      return text;
    },
  };
}

/** @returns host (empty for "every interface") and port of `host:port` or `[v6]:port`. */
export function splitAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:\s]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6)) {
    // What was written instead may be a URL with a password in it: it is not repeated.
    throw new Error('is no address; it takes host:port');
  }
  return { host: bracketed ?? plain ?? '', port };
}

/** Whether a host name means this machine alone, so that unencrypted traffic to it stays here. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
