import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  pbkdf2Sync,
  randomBytes,
  scryptSync,
} from 'node:crypto';

const cipher = 'aes-256-gcm';
const ivBytes = 12;
const tagBytes = 16;
/** The same in every process, since all must open what one sealed; what has to be secret is the API key. */
const salt = 'matcher/tenant-manager/passwords/1';

/** What a tenant has a password for, in the words of the contract's `credential_type`. */
export const credentialTypes = ['database', 'broker'] as const;
export type CredentialType = (typeof credentialTypes)[number];

/** 256 random bits, in characters that need no escaping in a URL, a connection string or SQL. */
export function randomPassword(): string {
  return randomBytes(32).toString('base64url');
}

/**
 * Keeps the tenants' passwords unreadable in the Tenant Manager's own database: in its dumps, replicas and backups.
 *
 * The key comes from MULTI_TENANT_SERVICE_API_KEY. With another API key the passwords sealed before can't be opened; the tenants'
 * connections are then refused until each one's association is posted again, which sets new passwords.
 */
export class PasswordSeal {
  readonly #key: Buffer;

  constructor(apiKey: string) {
    this.#key = scryptSync(apiKey, salt, 32);
  }

  /** @param place where the password belongs; it can't be opened for any other. */
  seal(password: string, place: string): Buffer {
    const iv = randomBytes(ivBytes);
    const seal = createCipheriv(cipher, this.#key, iv).setAAD(Buffer.from(place));
    const text = Buffer.concat([seal.update(password, 'utf8'), seal.final()]);
    return Buffer.concat([iv, seal.getAuthTag(), text]);
  }

  /** @returns `undefined` for what was sealed with another key or for another place. */
  open(sealed: Buffer, place: string): string | undefined {
    const iv = sealed.subarray(0, ivBytes);
    const tag = sealed.subarray(ivBytes, ivBytes + tagBytes);
    try {
      const open = createDecipheriv(cipher, this.#key, iv, { authTagLength: tagBytes })
        .setAAD(Buffer.from(place))
        .setAuthTag(tag);
      return open.update(sealed.subarray(ivBytes + tagBytes), undefined, 'utf8') + open.final('utf8');
    } catch {
      return undefined;
    }
  }
}

/**
 * What PostgreSQL keeps of a password (RFC 5802, RFC 7677). Sent in its place, so that no statement, and therefore no log of the
 * server, ever holds the password.
 */
export function scramVerifier(password: string): string {
  const iterations = 4096;
  const scramSalt = randomBytes(16);
  const salted = pbkdf2Sync(password, scramSalt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${scramSalt.toString('base64')}$${storedKey}:${hmac('Server Key').toString('base64')}`;
}
