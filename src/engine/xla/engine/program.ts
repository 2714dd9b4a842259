/** Programs of the xla engine: compiled from text or taken from the cache, and run. */
import { entry, at, EngineError, messageOf } from '../../../core/index.js';
import type { Graph } from '../../../graph/index.js';
import { checkInputs } from '../../contract/check.js';
import type { CompileOptions, Executable, Sharding, TensorMap } from '../../contract/engine.js';
import { adopt, explain, placementFor, withMemory, type Core } from './devices.js';
import type { PjrtExecutable } from '../pjrt/client.js';
import { cacheName, type ProgramCache } from '../pjrt/cache.js';
import { collectivesOf, type Collective } from '../pjrt/hlo.js';
import { compileOptions, type XlaOptions } from '../pjrt/proto.js';
import { lowerToStableHlo } from '../stablehlo/lower.js';
import { checkSharding, shardingKey } from '../mesh/sharding.js';
import { XlaTensor, ownTensor } from './tensor.js';

/** How an engine compiles. */
export interface CompileScope {
  readonly core: Core;
  readonly cache: ProgramCache | null;
  readonly plugin: string;
  readonly flags: string;
  readonly xlaOptions: XlaOptions;
  readonly cudnn: boolean;
  readonly tileKernels: boolean;
  readonly deterministic: boolean;
  /** Called with how long each program took to compile, and whether it came from the cache. */
  readonly compiled: (how: { readonly seconds: number; readonly cached: boolean }) => void;
}

/** The text of a graph. Throws `ConfigError` where a sharding does not divide. */
export function lowering(scope: CompileScope, graph: Graph, { donate = {}, shardings = {} }: CompileOptions): string {
  const { mesh } = scope.core;
  for (const { name, value } of [...graph.inputs, ...graph.outputs]) {
    const sharding = shardings[name];
    if (sharding) checkSharding(mesh, sharding, value.shape, `"${name}"`);
  }
  return lowerToStableHlo(graph, {
    donate,
    shardings,
    cudnn: scope.cudnn,
    kernels: scope.tileKernels,
    deterministic: scope.deterministic,
    mesh: mesh.size > 1 ? mesh : null,
  });
}

/** From the cache if it is there, else compiled and put there. */
async function compileText(scope: CompileScope, text: string): Promise<{ native: PjrtExecutable; cached: boolean }> {
  const { core, cache } = scope;
  const options = compileOptions(
    core.devices.map((d) => d.id),
    scope.xlaOptions,
  );
  const device = core.devices.map((d) => d.kind).join(',');
  const name = cacheName({ program: text, options, plugin: scope.plugin, device, flags: scope.flags });
  const stored = cache?.read(name) ?? null;
  if (cache && stored) {
    try {
      return { native: await core.client.deserialize(stored), cached: true };
    } catch (error) {
      cache.discard(name, messageOf(error));
    }
  }
  try {
    const native = await core.client.compile(text, options);
    if (cache) cache.write(name, native.serialize());
    return { native, cached: false };
  } catch (error) {
    throw explain(core, error);
  }
}

/**
 * A graph with the programs made of it. Inputs for which the options give a sharding have it; others keep theirs, so
 * that one graph may need several programs, each made when it is first needed.
 */
export class XlaExecutable implements Executable {
  readonly #programs = new Map<string, PjrtExecutable>();
  readonly #donated: ReadonlySet<string>;
  #disposed = false;

  private constructor(
    readonly graph: Graph,
    private readonly scope: CompileScope,
    private readonly options: CompileOptions,
  ) {
    this.#donated = new Set(Object.keys(options.donate ?? {}));
  }

  /** Compiles unless the shardings of inputs are not known yet; the text is checked in any case. */
  static async create(graph: Graph, scope: CompileScope, options: CompileOptions): Promise<XlaExecutable> {
    const program = new XlaExecutable(graph, scope, options);
    if (scope.core.mesh.size === 1 || options.shardings !== undefined) await program.#native(options.shardings ?? {});
    else lowering(scope, graph, options);
    return program;
  }

  async run(inputs: TensorMap): Promise<TensorMap> {
    if (this.#disposed) throw new EngineError('xla: this program was disposed of');
    const { graph, options } = this;
    const { core } = this.scope;
    const { donate = {} } = options;
    checkInputs('xla', graph, inputs);
    const tensors = graph.inputs.map(({ name }) => ownTensor(entry(inputs, name), `input "${name}"`));
    this.#refuseTwice(tensors);
    const shardings = this.#shardingsOf(tensors);
    const native = await this.#native(shardings);
    core.pool.beginRun();
    const placements = graph.inputs.map(({ name }, i) =>
      placementFor(core, at(tensors, i), shardings[name] ?? [], name),
    );
    const lists = core.own.map((_, d) => placements.map((p) => at(p.buffers, d)));
    const results = withMemory(core, () => native.execute(lists, graph.outputs.length));
    graph.inputs.forEach(({ name }, i) => {
      if (donate[name] === undefined) return;
      const tensor = at(tensors, i);
      tensor.state = 'donated';
      core.pool.release(tensor);
    });
    return Object.fromEntries(
      graph.outputs.map(({ name, value }, i) => {
        const placement = {
          sharding: shardings[name] ?? [],
          buffers: results.map((list) => at(list, i)),
        };
        const tensor = new XlaTensor(value.dtype, value.shape, { placement });
        adopt(core, tensor, placement);
        return [name, tensor];
      }),
    );
  }

  /** The collectives of the program that was made first. */
  collectives(): readonly Collective[] {
    const [native] = this.#programs.values();
    if (!native) throw new EngineError('xla: this program was disposed of, or was not compiled yet: run it first');
    return collectivesOf(native.optimizedProgram());
  }

  /** All shardings: those of the options, and those that inputs have which the options leave out. */
  #shardingsOf(tensors: readonly XlaTensor[]): Readonly<Record<string, Sharding>> {
    const { donate = {}, shardings = {} } = this.options;
    if (this.scope.core.mesh.size === 1) return shardings;
    const all: Record<string, Sharding> = { ...shardings };
    this.graph.inputs.forEach(({ name }, i) => {
      const sharding = tensors[i]?.placement?.sharding;
      if (name in shardings || sharding === undefined) return;
      all[name] = sharding;
      const successor = donate[name];
      if (successor !== undefined) all[successor] ??= sharding;
    });
    return all;
  }

  async #native(shardings: Readonly<Record<string, Sharding>>): Promise<PjrtExecutable> {
    // On one device there is one way to lie on it.
    const [only] = this.scope.core.mesh.size === 1 ? this.#programs.values() : [];
    if (only) return only;
    const ports = [...this.graph.inputs, ...this.graph.outputs];
    const key = ports.map(({ name, value }) => shardingKey(shardings[name] ?? [], value.shape.length)).join();
    const known = this.#programs.get(key);
    if (known) return known;
    const begin = performance.now();
    const text = lowering(this.scope, this.graph, { ...this.options, shardings });
    const { native, cached } = await compileText(this.scope, text);
    this.scope.compiled({ seconds: (performance.now() - begin) / 1000, cached });
    if (this.#disposed) {
      native[Symbol.dispose]();
      throw new EngineError('xla: this program was disposed of while it was compiled');
    }
    this.#programs.set(key, native);
    return native;
  }

  /** A tensor that is donated must not also be another input of the same run. */
  #refuseTwice(tensors: readonly XlaTensor[]): void {
    const donated = this.#donated;
    const seen = new Map<XlaTensor, string>();
    this.graph.inputs.forEach(({ name }, i) => {
      const tensor = at(tensors, i);
      const other = seen.get(tensor);
      if (other !== undefined && (donated.has(name) || donated.has(other))) {
        throw new EngineError(`xla: inputs "${other}" and "${name}" are one tensor, which is donated; upload it twice`);
      }
      seen.set(tensor, name);
    });
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const native of this.#programs.values()) native[Symbol.dispose]();
    this.#programs.clear();
  }
}
