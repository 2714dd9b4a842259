/** Which processes of several hosts work together, and the secret that they share. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { ConfigError, fileError, writableByOthers } from '../../../../core/index.js';
import { isLoopback, parseAddress } from './protocol.js';

/** One process of several that share a mesh; each sees its own devices, and the mesh spans those of all. */
export interface Hosts {
  /** This process's number, from 0. */
  readonly node: number;
  /** The number of processes. */
  readonly nodes: number;
  /** `HOST:PORT` at which node 0 serves the store; the same for all. */
  readonly coordinator: string;
  /** What all processes know and nobody else; may be left out only where the coordinator is a loopback address. */
  readonly secret?: string | undefined;
}

const MAX_NODES = 100_000;
const LEAST_SECRET = 16;
const MOST_SECRET = 4096;
const SECRET = 'LONGSIGHT_COORDINATOR_SECRET';
const SECRET_FILE = `${SECRET}_FILE`;
const OTHERS_READ = 0o077;

/**
 * Throws `ConfigError` for a node that is not among the nodes, a coordinator that is no address, and one that other
 * hosts can reach where there is no secret.
 */
export function checkHosts({ node, nodes, coordinator, secret }: Hosts): void {
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > MAX_NODES)
    throw new ConfigError(`the number of nodes must be a whole number >= 1 and <= ${MAX_NODES}, got ${nodes}`);
  if (!Number.isInteger(node) || node < 0 || node >= nodes) {
    throw new ConfigError(`the node must be a whole number from 0 to ${nodes - 1}, got ${node}`);
  }
  const { host } = parseAddress(coordinator);
  if (secret === undefined) {
    if (isLoopback(host)) return;
    throw new ConfigError(
      `other hosts can reach the coordinator ${coordinator}: set ${SECRET} (or ${SECRET_FILE}, a file that holds it) to the ` +
        `same ${LEAST_SECRET} characters or more on every node, such as what "openssl rand -hex 32" prints`,
    );
  }
  if (secret.length < LEAST_SECRET || secret.length > MOST_SECRET) {
    throw new ConfigError(
      `the coordinator's secret has ${secret.length} characters; it needs ${LEAST_SECRET} to ${MOST_SECRET}`,
    );
  }
}

/**
 * The hosts that `LONGSIGHT_COORDINATOR`, `LONGSIGHT_NODES` and `LONGSIGHT_NODE` speak of, with the secret of
 * `LONGSIGHT_COORDINATOR_SECRET` or the file that `LONGSIGHT_COORDINATOR_SECRET_FILE` names; none if the first is not
 * set. Throws `ConfigError` where they do not fit together.
 */
export function hostsFromEnvironment(env: Readonly<Record<string, string | undefined>>): Hosts | undefined {
  const coordinator = env['LONGSIGHT_COORDINATOR'];
  if (coordinator === undefined || coordinator === '') return undefined;
  const number = (name: string): number => {
    const text = env[name];
    if (text !== undefined && /^\d+$/.test(text)) return Number(text);
    throw new ConfigError(`LONGSIGHT_COORDINATOR is set, so ${name} must be a whole number, got ${text ?? 'nothing'}`);
  };
  const secret = secretFrom(env);
  const given = secret === undefined ? {} : { secret };
  const hosts = { coordinator, node: number('LONGSIGHT_NODE'), nodes: number('LONGSIGHT_NODES'), ...given };
  checkHosts(hosts);
  return hosts;
}

function secretFrom(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const [secret = '', path = ''] = [env[SECRET], env[SECRET_FILE]];
  if (secret !== '' && path !== '') throw new ConfigError(`set one of ${SECRET} and ${SECRET_FILE}, not both`);
  return path !== '' ? secretFile(path) : secret !== '' ? secret : undefined;
}

/** The secret in a file, without the white space around it; nobody else may read or write the file. */
function secretFile(path: string): string {
  let text: string;
  try {
    const fd = openSync(path, 'r');
    try {
      const { mode, size } = fstatSync(fd);
      const why =
        writableByOthers(path) ?? ((mode & OTHERS_READ) === 0 ? null : `others may read it; run "chmod 600 ${path}"`);
      if (why !== null) throw new ConfigError(`${SECRET_FILE}: ${path} is not used: ${why}`);
      if (size > MOST_SECRET)
        throw new ConfigError(`${SECRET_FILE}: ${path} has ${size} bytes; a secret has at most ${MOST_SECRET}`);
      text = readFileSync(fd, 'utf8').trim();
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw cause instanceof ConfigError
      ? cause
      : new ConfigError(`${SECRET_FILE}: ${fileError('read', path, cause).message}`, { cause });
  }
  if (text === '') throw new ConfigError(`${SECRET_FILE}: ${path} is empty`);
  return text;
}
