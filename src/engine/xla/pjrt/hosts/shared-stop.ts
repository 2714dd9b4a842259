/**
 * The step after which the processes of several hosts stop together. Node 0 says in the store up to which step all may
 * go, always a few ahead of its own, and nobody starts a later one; asked to stop, it makes the last step that it has
 * allowed the last of all. So nobody can have passed it, however far apart the processes are.
 */
import type { SharedStop } from '../../../contract/engine.js';
import type { Hosts } from './hosts.js';
import { staying, valueOf, WAIT_MS, type Ask } from './waits.js';

/** Steps after the one at hand that node 0 allows: what it allows is on its way while all are at work. */
const ALLOWED_AHEAD = 2;

/** The run whose end is shared, and the store by which it is. */
export interface SharedStopOptions {
  readonly hosts: Pick<Hosts, 'node' | 'nodes'>;
  readonly ask: Ask;
  /** Which run of this process it is, from 0: the same for all processes. */
  readonly run: number;
  /** The step that is done, from 0. */
  readonly from: number;
  /** The last step of the run, from 0. */
  readonly to: number;
}

/** What node 0 has said: the last step that may be started now, and whether it is the last one for good. */
interface Allowed {
  readonly step: number;
  readonly stops: boolean;
}

const encoded = ({ step, stops }: Allowed): string => Buffer.from(`${step}${stops ? ' stop' : ''}`).toString('base64');

function decoded(value: string): Allowed {
  const [step, stops] = Buffer.from(value, 'base64').toString().split(' ');
  return { step: Number(step), stops: stops !== undefined };
}

/** Joins in the end that the processes of a run share. Every process does so, with the same run and steps. */
export function shareStop(options: SharedStopOptions): SharedStop {
  return options.hosts.node === 0 ? new Leader(options) : new Follower(options);
}

const keysOf = (run: number) => ({
  allowed: `longsight/run/${run}/allowed`,
  asked: `longsight/run/${run}/asked`,
  known: (node: number) => `longsight/run/${run}/known/${node}`,
});

/** Node 0, which decides. */
class Leader implements SharedStop {
  readonly #options: SharedStopOptions;
  readonly #keys: ReturnType<typeof keysOf>;
  #isAsked = false;
  #allowed: Allowed;
  /** What was said last, which is kept in order by the connection. */
  #said: Promise<unknown> = Promise.resolve();

  constructor(options: SharedStopOptions) {
    this.#options = options;
    this.#keys = keysOf(options.run);
    this.#allowed = { step: options.from, stops: false };
    this.#say(this.#allowed);
    // Where nobody asks, the wait ends with the store.
    valueOf(options.ask, { op: 'get', key: this.#keys.asked, timeoutMs: WAIT_MS }).then(
      () => this.ask(),
      () => undefined,
    );
  }

  ask(): void {
    this.#isAsked = true;
  }

  goesOn(step: number): Promise<boolean> {
    const { to } = this.#options;
    if (this.#isAsked && !this.#allowed.stops) this.#say({ ...this.#allowed, stops: true });
    const wanted = Math.min(to, step + ALLOWED_AHEAD);
    if (!this.#allowed.stops && wanted > this.#allowed.step) this.#say({ step: wanted, stops: false });
    return Promise.resolve(step <= this.#allowed.step);
  }

  /** Waits until all know where they stop: this process serves what they ask. */
  async finish(): Promise<void> {
    await this.#said;
    for (let node = 1; node < this.#options.hosts.nodes; node++)
      await staying(valueOf(this.#options.ask, { op: 'get', key: this.#keys.known(node), timeoutMs: WAIT_MS }));
  }

  #say(allowed: Allowed): void {
    this.#allowed = allowed;
    this.#said = this.#options.ask({ op: 'put', key: this.#keys.allowed, value: encoded(allowed) });
  }
}

/** Any other node, which hears. */
class Follower implements SharedStop {
  readonly #options: SharedStopOptions;
  readonly #keys: ReturnType<typeof keysOf>;
  #allowed: Allowed;
  #wake: () => void = () => undefined;
  #error: { readonly error: unknown } | null = null;
  /** Settles once it is known where all stop, and node 0 has been told so. */
  readonly #heard: Promise<void>;

  constructor(options: SharedStopOptions) {
    this.#options = options;
    this.#keys = keysOf(options.run);
    this.#allowed = { step: options.from, stops: false };
    this.#heard = this.#hear().catch((error: unknown) => {
      this.#error = { error };
      this.#wake();
    });
  }

  ask(): void {
    void this.#options.ask({ op: 'put', key: this.#keys.asked, value: '' });
  }

  async goesOn(step: number): Promise<boolean> {
    while (step > this.#allowed.step && !this.#allowed.stops) {
      if (this.#error !== null) throw this.#error.error;
      await staying(new Promise<void>((resolve) => (this.#wake = resolve)));
    }
    return step <= this.#allowed.step;
  }

  async finish(): Promise<void> {
    await staying(this.#heard);
    if (this.#error !== null) throw this.#error.error;
  }

  async #hear(): Promise<void> {
    let seen = '';
    while (!this.#allowed.stops && (seen === '' || this.#allowed.step < this.#options.to)) {
      seen = await valueOf(this.#options.ask, { op: 'after', key: this.#keys.allowed, seen, timeoutMs: WAIT_MS });
      this.#allowed = decoded(seen);
      this.#wake();
    }
    await valueOf(this.#options.ask, { op: 'put', key: this.#keys.known(this.#options.hosts.node), value: '' });
  }
}
