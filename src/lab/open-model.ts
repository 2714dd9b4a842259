/** One door to every model: the checkpoints of a run, a checkpoint by itself, or a model saved by Transformers. */
import {
  hasTokenizer,
  isHfFolder,
  openHfModel,
  openTokenizer,
  trainedLength,
  weightFiles,
  withinVocabulary,
  type TextTokenizer,
} from '../checkpoint/index.js';
import {
  ConfigError,
  describeDifferences,
  differences,
  fingerprint,
  fingerprintFile,
  LongsightError,
  maxOf,
  type DType,
  type HostTensor,
} from '../core/index.js';
import { hasShards, tokenizerOfShards } from '../data/index.js';
import {
  createEngine,
  inFloat32,
  inPrecision,
  measuringPrecision,
  withStoredWeights,
  type Engine,
  type EngineChoice,
  type EngineName,
  type Precision,
  type TensorMap,
} from '../engine/index.js';
import { uploadParameters, type LoadedModel, type NamedWeights } from '../loaded/index.js';
import type { HostParameters, ModelConfig, Window } from '../model/index.js';
import { findCheckpoint, type Checkpoint } from '../run/index.js';
import { openRunData, runAtStep, stagesOf } from '../train/index.js';
import { checkpointAt, configAt, windowSuffix } from './at-window.js';
import { checkpointsOf, runOf, type NamedRun } from './named-run.js';
import type { FullRunConfig, Setting } from './run-config.js';
import type { CheckpointUse } from './settings-in-effect.js';

/** How a model is opened. */
export interface OpenOptions {
  /** The checkpoint of this training step (default: the newest). */
  readonly step?: number | undefined;
  /** Settings laid over the run's configuration, which says on what data and how the model is measured. */
  readonly set?: readonly Setting[];
  /** What the model is opened for: settings that have no effect on that are refused (default: `measuring`). */
  readonly use?: CheckpointUse;
  /**
   * What computes: an engine of the caller (or how it gives one), or the name of one; what the run asks for unless
   * given.
   */
  readonly engine?: Engine | EngineName | (() => Engine) | undefined;
  /** Threads of the engine, where `engine` is no engine itself. */
  readonly threads?: number | undefined;
  /**
   * What programs compute in, unless given: on accelerators that of the training, or bf16 for a folder of Transformers
   * that stores it; else float32.
   */
  readonly precision?: Precision | undefined;
  /** What weights are held in (default: as they are stored). Programs compute the same with both. */
  readonly weights?: WeightsHeld | undefined;
  /**
   * Keys that queries see, null for all, in place of the windows that moved in training, or else of every window
   * (default: the model's own).
   */
  readonly window?: Window | undefined;
}

/** What weights of an opened model are held in: bf16 and f16 as they are stored, or everything in float32. */
export type WeightsHeld = (typeof WEIGHTS_HELD)[number];
/** Every choice of what weights are held in. */
export const WEIGHTS_HELD = ['stored', 'float32'] as const;

/** What a run file, or what is asked for above it, wants of an engine. */
export function engineChoice(
  { threads }: { readonly threads?: number | undefined },
  run: Partial<Pick<FullRunConfig, 'threads' | 'mesh' | 'deterministic'>>,
): EngineChoice {
  const count = threads ?? run.threads;
  const { data, fsdp, tensor } = run.mesh ?? {};
  const mesh = {
    ...(data === undefined ? {} : { data }),
    ...(fsdp === undefined ? {} : { fsdp }),
    ...(tensor === undefined ? {} : { tensor }),
  };
  return {
    ...(count === undefined ? {} : { threads: count }),
    ...(run.mesh === undefined ? {} : { mesh }),
    ...(run.deterministic === undefined ? {} : { deterministic: run.deterministic }),
  };
}

/** An engine that is made when it is first needed; models of one run share it. */
class EngineSource {
  #engine: Engine | null;
  readonly #own: boolean;

  constructor(
    private readonly options: OpenOptions,
    private readonly run: FullRunConfig | null,
    private readonly trained: Precision | undefined = run?.train.precision,
  ) {
    const { engine } = options;
    this.#own = typeof engine === 'string' || engine === undefined;
    this.#engine = typeof engine === 'object' ? engine : null;
  }

  get weights(): WeightsHeld {
    return this.options.weights ?? 'stored';
  }

  /**
   * The engine for a model.
   *
   * @param held what its weights are held in, by name
   */
  get(held: ReadonlyMap<string, DType>): Engine {
    this.#engine ??= this.#make();
    return inPrecision(withStoredWeights(inFloat32(this.#engine), held), this.precision(this.#engine));
  }

  precision(engine: Engine): Precision {
    const asked = this.options.precision ?? this.run?.eval.precision;
    return measuringPrecision(engine, { asked, trained: this.trained });
  }

  #make(): Engine {
    const { engine: named, threads } = this.options;
    if (typeof named === 'function') return named();
    const name = typeof named === 'string' ? named : (this.run?.engine ?? 'auto');
    return createEngine(name, engineChoice({ threads }, this.run ?? {}));
  }

  get made(): Engine | null {
    return this.#engine;
  }

  async dispose(): Promise<void> {
    if (this.#own) await this.#engine?.dispose();
  }
}

interface Origin {
  readonly path: string;
  readonly config: ModelConfig;
  readonly tokenizer: TextTokenizer | null;
  readonly run: NamedRun | null;
  readonly checkpoint: Checkpoint | null;
  readonly parameters: () => HostParameters;
  /** What weights are held in on the engine, by name, and the weights in that; none are named that are f32. */
  readonly held: ReadonlyMap<string, DType>;
  readonly weights: () => NamedWeights;
  /** What each parameter is stored in. */
  readonly types: () => ReadonlyMap<string, DType>;
  /** One parameter, f32. */
  readonly parameter: (name: string) => HostTensor<'f32'> | undefined;
  readonly engine: EngineSource;
  /** The window in place of the model's own; undefined for those. */
  readonly window: Window | undefined;
}

/**
 * A model that was opened by its path. Its engine is made and its weights are placed on it when they are first asked
 * for, so that looking at a configuration costs neither.
 */
export class OpenedModel implements LoadedModel {
  /** The path that it was opened by. */
  readonly source: string;
  readonly config: ModelConfig;
  /**
   * The tokenizer beside a saved model, or of the token shards of a run; null for runs on bytes or synthetic tokens.
   */
  readonly tokenizer: TextTokenizer | null;
  /** The run that the checkpoint belongs to; null for a model saved by Transformers. */
  readonly run: NamedRun | null;
  readonly checkpoint: Checkpoint | null;
  /** What weights are held in. */
  readonly weightsHeld: WeightsHeld;
  readonly #origin: Origin;
  #engine: Engine | null = null;
  #tensors: TensorMap | null = null;
  #fingerprint: string | null = null;
  #longestAsked = 0;

  /** For `openModel` and `openModels`. */
  constructor(origin: Origin) {
    this.source = origin.path;
    this.config = origin.config;
    this.tokenizer = origin.tokenizer;
    this.run = origin.run;
    this.checkpoint = origin.checkpoint;
    this.weightsHeld = origin.engine.weights;
    this.#origin = origin;
  }

  /** The training step of the checkpoint; null for a model saved by Transformers. */
  get step(): number | null {
    return this.checkpoint?.state.step ?? null;
  }

  /** Training tokens seen; null for a model saved by Transformers. */
  get tokens(): number | null {
    return this.checkpoint?.state.tokens ?? null;
  }

  /** `step 600`, or the path of a model without steps: what tables call it, with the window that was asked for. */
  get name(): string {
    return (this.step === null ? this.source : `step ${this.step}`) + windowSuffix(this.window);
  }

  /** The window in place of the model's own, null for full attention; undefined where it is the model's own. */
  get window(): Window | undefined {
    return this.#origin.window;
  }

  get engine(): Engine {
    return (this.#engine ??= this.#origin.engine.get(this.#origin.held));
  }

  /** What programs of the model compute in. */
  get precision(): Precision {
    return this.#origin.engine.precision(this.engine);
  }

  /** The engine, if something has needed it by now. */
  get engineInUse(): Engine | null {
    return this.#origin.engine.made;
  }

  get tensors(): TensorMap {
    return (this.#tensors ??= uploadParameters(this.engine, this.#origin.weights()));
  }

  /** The weights on the host in float32, read anew at each call. */
  parameters(): HostParameters {
    return this.#origin.parameters();
  }

  /** One of the weights on the host in float32; undefined if the model has none of this name. */
  parameter(name: string): HostTensor<'f32'> | undefined {
    return this.#origin.parameter(name);
  }

  /** What the weights are stored in: of imported models bf16 or f16 where their files are, else f32. */
  get storedTypes(): ReadonlySet<DType> {
    return new Set(this.#origin.types().values());
  }

  /**
   * What tells models apart whatever they are called: the configuration, and every file of weights by its bytes.
   * Reads each file once from front to back.
   */
  fingerprint(): string {
    const files = () => weightFiles(this.checkpoint?.path ?? this.source).map(fingerprintFile);
    return (this.#fingerprint ??= fingerprint([this.config, files()]));
  }

  /** Tokens of the longest sequences that the model was trained on by its step; null where that is not known. */
  trainedLength(): number | null {
    const { run, source, step } = this;
    // What the run itself was trained on, whatever settings are laid over it for measuring.
    return run === null ? trainedLength(source) : longestTrained(runOf(run.dir).run, step ?? Infinity);
  }

  /** Notes that the model is asked to read `length` tokens at once; see `beyondTraining`. */
  noteLength(length: number): void {
    this.#longestAsked = Math.max(length, this.#longestAsked);
  }

  /** A sentence where the model was asked to read more tokens at once than it was trained on; null where it was not. */
  beyondTraining(): string | null {
    return beyond(this.source, this.#longestAsked, this.trainedLength());
  }

  /** Forgets the weights on the engine; they are placed anew if they are asked for again. */
  release(): void {
    this.#tensors = null;
  }

  /** Also disposes the engine, unless the caller gave it, for all models that were opened with it. */
  async dispose(): Promise<void> {
    this.release();
    await this.#origin.engine.dispose();
  }
}

function imported(path: string, options: OpenOptions): OpenedModel {
  const { set = [], step, weights: weightsHeld = 'stored' } = options;
  const [setting] = set;
  const noRun = `${path} is a model saved by Transformers, which has no run`;
  if (setting !== undefined) throw new ConfigError(`${setting[0]} (--set): ${noRun} whose keys could be changed`);
  if (step !== undefined) throw new ConfigError(`step ${step} (--step): ${noRun} and no checkpoints; leave it out`);
  const opened = openHfModel(path);
  return new OpenedModel({
    ...{ path, config: configAt(opened.config, options.window, path), window: options.window },
    ...{ parameters: () => opened.parameters(), run: null, checkpoint: null },
    held: weightsHeld === 'float32' ? new Map() : opened.types,
    types: () => opened.types,
    parameter: (name) => opened.parameter(name),
    weights: () => opened.weights(weightsHeld === 'float32' ? 'f32' : undefined),
    tokenizer: hasTokenizer(path) ? withinVocabulary(openTokenizer(path), opened.config.vocabSize) : null,
    engine: new EngineSource(options, null, mostlyBf16(opened.types) ? 'bf16' : undefined),
  });
}

/** Whether weights are stored in bf16, some norms and biases aside: so are models that were trained in it. */
function mostlyBf16(types: ReadonlyMap<string, DType | 'f16'>): boolean {
  return [...types.values()].filter((type) => type === 'bf16').length > types.size / 2;
}

/** Looks parameters up in what is read at the first of them. */
function once(read: () => HostParameters): Origin['parameter'] {
  let all: HostParameters | null = null;
  return (name) => (all ??= read()).get(name);
}

function stored(
  path: string,
  run: NamedRun,
  found: Checkpoint,
  engine: EngineSource,
  window: Window | undefined,
): OpenedModel {
  const checkpoint = checkpointAt(found, window);
  const { model: config } = checkpoint.state;
  const [shards] = shardsOf(run);
  const tokenizer = shards === undefined ? null : withinVocabulary(tokenizerOfShards(shards.path), config.vocabSize);
  return new OpenedModel({
    ...{ path, config, parameters: () => checkpoint.parameters(), run, checkpoint, tokenizer, engine, window },
    // Checkpoints are float32.
    ...{ held: new Map(), weights: () => checkpoint.parameters() },
    types: () => new Map([['', 'f32']]),
    parameter: once(() => checkpoint.parameters()),
  });
}

/** The token shards of a run that still are where they were. */
export function shardsOf({ run }: NamedRun): { readonly path: string }[] {
  return run.data.flatMap((s) => (s.kind === 'shards' && hasShards(s.path) ? [{ path: s.path }] : []));
}

/**
 * Opens one model: the newest checkpoint of a run folder (or that of `step`), a checkpoint inside of one, or the
 * folder of a model saved by Transformers.
 *
 * @throws StoreError, ConfigError, DataError saying what is not there or cannot be read
 */
export function openModel(path: string, options: OpenOptions = {}): OpenedModel {
  if (isHfFolder(path)) return imported(path, options);
  const run = runOf(path, options.set, options.use);
  return stored(path, run, findCheckpoint(path, options.step), new EngineSource(options, run.run), options.window);
}

/**
 * Opens every checkpoint of a run in order of steps, or the one model that is named; at least one. They share an
 * engine.
 *
 * @throws StoreError, ConfigError, DataError as `openModel` does
 */
export function openModels(path: string, options: OpenOptions = {}): readonly [OpenedModel, ...OpenedModel[]] {
  if (isHfFolder(path)) return [imported(path, options)];
  const run = runOf(path, options.set, options.use);
  const engine = new EngineSource(options, run.run);
  const [first, ...rest] = checkpointsOf(path, options.step).map((found) =>
    stored(path, run, found, engine, options.window),
  );
  return first === undefined ? [openModel(path, options)] : [first, ...rest];
}

/** The longest sequences that a run had trained on by a step, in tokens; null before the first step. */
function longestTrained(run: FullRunConfig, step: number): number | null {
  const stages = stagesOf(run).filter((stage) => stage.from < step);
  return stages.length === 0 ? null : maxOf(stages.map((stage) => stage.train.seqLen));
}

/**
 * The same as `beyondTraining` for a checkpoint of the run in `dir` (null: not known) that is measured as `measured`
 * says.
 */
export function measuredBeyond(
  { dir, path, step }: { readonly dir: string | null; readonly path: string; readonly step: number },
  measured: FullRunConfig,
): string | null {
  return dir === null ? null : beyond(path, measuredLength(measured), longestTrained(runOf(dir).run, step));
}

/**
 * A sentence where the run file that says how to measure describes another model than the checkpoint has, whose own is
 * what is measured; null where they agree. The vocabulary, which follows the data, may differ.
 */
export function modelLeftAside(
  file: string | undefined,
  run: FullRunConfig,
  { path, state }: Checkpoint,
): string | null {
  if (file === undefined) return null;
  const found = differences(state.model, { ...runAtStep(run, state.step).model, vocabSize: state.model.vocabSize });
  if (found.length === 0) return null;
  return `${path} is measured with its own model, not with that of ${file} (${describeDifferences(found, 2)})`;
}

/** The longest sequence, in tokens, that a model reads where it is measured as a run file says. */
export function measuredLength({ train, eval: { needle, trace } }: FullRunConfig): number {
  const needles = typeof needle === 'object' ? (needle.lengths ?? []) : [];
  const traced = typeof trace === 'object' ? (trace.length ?? 0) : 0;
  return maxOf([train.seqLen, traced, ...needles]);
}

function beyond(path: string, asked: number, trained: number | null): string | null {
  if (trained === null || asked <= trained) return null;
  return (
    `${path} was trained on sequences of up to ${trained} tokens, and is asked to read up to ${asked}: what it does ` +
    'beyond its trained length may say little about it'
  );
}

const dataPrints = new WeakMap<NamedRun, string>();

/**
 * A run's data by content, and what is measured on them. Data that are gone, which some measurements need none of,
 * count as such.
 */
function dataFingerprint(named: NamedRun): string {
  const known = dataPrints.get(named);
  if (known !== undefined) return known;
  const { run } = named;
  const contents = (): unknown => {
    try {
      using data = openRunData(run);
      return [data.train.state(), data.heldOut()?.state() ?? null];
    } catch (error) {
      if (error instanceof LongsightError) return error.code;
      throw error;
    }
  };
  const print = fingerprint([run.seed, run.train.seqLen, run.eval, contents()]);
  dataPrints.set(named, print);
  return print;
}

/**
 * What a finding is made from, as one text: weights, those of the reference it is compared with, the run's own data,
 * and the options.
 *
 * @param options plain data; files that they name count by content
 */
export function originOf(model: OpenedModel, reference: OpenedModel | null, options: unknown): string {
  const models = [model, ...(reference === null ? [] : [reference])].map((m) => m.fingerprint());
  return fingerprint([models, model.run === null ? null : dataFingerprint(model.run), options]);
}
