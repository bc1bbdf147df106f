import { join, resolve } from 'node:path';

/** The repository's root. */
export const root = resolve(import.meta.dirname, '../..');

/** Where the command was typed; npm and the bootstrap run scripts at the root. */
export const callerDirectory = process.env.MATCHER_CALLER_CWD ?? process.cwd();

/** Left for other terminals while a local deployment runs: the environment with which to reach it. */
export const environmentFile = join(root, '.matcher', 'env');
