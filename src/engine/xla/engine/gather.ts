/** Tensors whose shards are in several processes, brought to each of them whole. */
import { canonicalJson, entry, InOrder, type HostTensor } from '../../../core/index.js';
import { barrier, input, makeGraph, type Graph } from '../../../graph/index.js';
import type { Executable, Sharding } from '../../contract/engine.js';
import { shardingKey } from '../mesh/sharding.js';
import { ownTensor, type XlaTensor } from './tensor.js';

/** What a gather is made with. */
export interface GatherSteps {
  /** Compiles a program whose input `x` has a sharding and whose output `y` is replicated. */
  readonly compile: (graph: Graph, sharding: Sharding) => Promise<Executable>;
  /** Copies a replicated tensor to the host. */
  readonly fetch: (tensor: XlaTensor) => Promise<HostTensor>;
  /** Frees a tensor. */
  readonly release: (tensor: XlaTensor) => void;
}

/**
 * Gathers divided tensors, one after another in the order in which they were asked for. A gather is a collective: the
 * devices of several processes wait for one another in it, so that two processes which start two of them in different
 * orders wait for ever. The order of asking is the same in all of them; that in which programs are compiled is not.
 */
export class Gatherer {
  readonly #steps: GatherSteps;
  readonly #order = new InOrder();
  /** Programs by dtype, shape and sharding. */
  readonly #programs = new Map<string, Executable>();

  constructor(steps: GatherSteps) {
    this.#steps = steps;
  }

  /** The whole of a tensor on the host. Every process has to ask for the same tensors in the same order. */
  download(tensor: XlaTensor): Promise<HostTensor> {
    return this.#order.add(async () => {
      const program = await this.#programFor(tensor);
      const whole = ownTensor(entry(await program.run({ x: tensor }), 'y'), 'a gathered tensor');
      try {
        return await this.#steps.fetch(whole);
      } finally {
        this.#steps.release(whole);
      }
    });
  }

  async #programFor({ dtype, shape, placement }: XlaTensor): Promise<Executable> {
    const sharding = placement?.sharding ?? [];
    const key = canonicalJson([dtype, shape, shardingKey(sharding, shape.length)]);
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const x = input('x', dtype, shape);
    const program = await this.#steps.compile(makeGraph({ x }, { y: barrier([x])[0] }), sharding);
    this.#programs.set(key, program);
    return program;
  }

  /** Frees the programs. */
  async dispose(): Promise<void> {
    await this.#order.ended();
    for (const program of this.#programs.values()) await program.dispose();
    this.#programs.clear();
  }
}
