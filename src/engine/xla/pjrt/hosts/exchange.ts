/** Words that the processes of several hosts tell one another, through the store. */
import { z } from 'zod';
import { EngineError } from '../../../../core/index.js';
import type { Hosts } from './hosts.js';
import { staying, valueOf, WAIT_MS, type Ask } from './waits.js';

/** What a process tells the others, and the store by which it does. */
export interface ExchangeOptions {
  readonly hosts: Pick<Hosts, 'node' | 'nodes'>;
  readonly ask: Ask;
  /** Which exchange of this process it is, from 0: the same for all processes. */
  readonly number: number;
  readonly text: string;
}

const listSchema = z.array(z.string());

const encoded = (text: string): string => Buffer.from(text).toString('base64');
const decoded = (value: string): string => Buffer.from(value, 'base64').toString();

/**
 * Tells the other processes something and waits until each has done so. Node 0 gathers, so that a process asks once
 * however many there are, and goes on after all the others know: this process serves what they ask.
 *
 * @returns what each process has told, by node; the same for all
 * @throws EngineError where another process is lost
 */
export function exchange(options: ExchangeOptions): Promise<readonly string[]> {
  return staying(options.hosts.node === 0 ? gather(options) : hear(options));
}

const keysOf = (number: number) => ({
  all: `longsight/exchange/${number}/all`,
  told: (node: number) => `longsight/exchange/${number}/told/${node}`,
  known: (node: number) => `longsight/exchange/${number}/known/${node}`,
});

async function gather({ hosts, ask, number, text }: ExchangeOptions): Promise<readonly string[]> {
  const keys = keysOf(number);
  const others = Array.from({ length: hosts.nodes - 1 }, (_, i) => i + 1);
  const waitFor = (key: string) => valueOf(ask, { op: 'get', key, timeoutMs: WAIT_MS });
  const all = [text];
  for (const node of others) all.push(decoded(await waitFor(keys.told(node))));
  await valueOf(ask, { op: 'put', key: keys.all, value: encoded(JSON.stringify(all)) });
  for (const node of others) await waitFor(keys.known(node));
  return all;
}

async function hear({ hosts, ask, number, text }: ExchangeOptions): Promise<readonly string[]> {
  const keys = keysOf(number);
  await valueOf(ask, { op: 'put', key: keys.told(hosts.node), value: encoded(text) });
  const value = await valueOf(ask, { op: 'get', key: keys.all, timeoutMs: WAIT_MS });
  const all = listSchema.parse(JSON.parse(decoded(value)));
  if (all.length !== hosts.nodes)
    throw new EngineError(`xla: node 0 speaks of ${all.length} nodes, and there are ${hosts.nodes}`);
  await valueOf(ask, { op: 'put', key: keys.known(hosts.node), value: '' });
  return all;
}
