/**
 * Reading `config.json` as Transformers does: typed fields with the defaults of the model's class, and a list of what
 * cannot be imported. Every field of the class is read, has no effect on a result, or is refused by name.
 */
import { DataError, isPlain, LIMITS, showValue } from '../../../core/index.js';

type Json = Readonly<Record<string, unknown>>;

/** The default of a field that may be null in the file; see `optional`. */
export class Optional {
  /** Holds what the field is where the file does not name it; null leaves it to what the class makes of null. */
  constructor(readonly value: unknown) {}
}

/** A field that may be null in the file, with the value that it has where the file does not name it. */
export const optional = (value: unknown = null): Optional => new Optional(value);

/**
 * The fields of a class of Transformers that say what a model computes, with their defaults: a value, or `optional`
 * where the file may say null. Fields of `WITHOUT_EFFECT` are left out.
 */
export type ClassFields = Readonly<Record<string, unknown>>;

/** Fields of any class that change no value which a model computes from token ids. */
export const WITHOUT_EFFECT: ReadonlySet<string> = new Set(
  (
    'model_type transformers_version architectures output_hidden_states return_dict dtype torch_dtype chunk_size_feed_forward ' +
    'is_encoder_decoder id2label label2id problem_type initializer_range use_cache pad_token_id bos_token_id eos_token_id ' +
    'attention_dropout pretraining_tp resid_pdrop embd_pdrop resid_dropout embed_dropout classifier_dropout residual_dropout embedding_dropout num_logits_to_keep ' +
    'z_loss_coefficient output_router_logits router_aux_loss_coef router_jitter_noise residual_in_fp32 time_step_rank ' +
    'time_step_min time_step_max time_step_floor linear_a_log_min linear_a_log_max linear_dt_min linear_dt_max ' +
    'linear_dt_init_floor chunk_size mamba_chunk_size tie_last_hidden_states mlp_dropout initializer_cutoff_factor cls_token_id ' +
    'sep_token_id vision_config audio_config'
  ).split(' '),
);

/** Fields that no class has but that Transformers heeds in all of them, with the values that change nothing. */
export const SHARED: Readonly<Record<string, readonly unknown[]>> = {
  is_causal: [true],
  per_layer_config: [null],
  quantization_config: [null],
  compression_config: [null],
};

/** What a count is of, by the words of its name. */
function kindOf(name: string): keyof typeof LIMITS {
  if (name.includes('layers')) return 'layers';
  if (/heads|groups/.test(name)) return 'heads';
  if (name.includes('vocab')) return 'vocabulary';
  return /size|dim|kernel|expand|_d_/.test(name) ? 'width' : 'tokens';
}

/** Whether a configuration scales rotary positions and leaves out the length that the model was trained at. */
function lacksTrainedLength({ rope_parameters: parameters, rope_scaling: scaling }: Json): boolean {
  const rope = isPlain(parameters) ? parameters : scaling;
  if (!isPlain(rope)) return false;
  const kind = rope.rope_type ?? rope.type ?? 'default';
  return kind !== 'default' && rope.original_max_position_embeddings === undefined;
}

/**
 * The fields of a JSON object, under the names of the file. A field that is missing has the default of the model's
 * class; null stands for itself, and is refused where the class does not take it.
 */
export class Fields {
  /** What the file asks for that Longsight's models do not have, in the order found. */
  readonly unsupported: string[];
  /** What a user should know of how the file was read. */
  readonly notes: string[];
  readonly #read = new Set<string>();

  constructor(
    readonly values: Json,
    /** Path of the file, for messages. */
    readonly where: string,
    /** The path of the object within the file, such as `rope_parameters.`, for messages. */
    private readonly prefix = '',
    parent: Pick<Fields, 'unsupported' | 'notes'> = { unsupported: [], notes: [] },
    private readonly defaults: ClassFields = {},
  ) {
    this.unsupported = parent.unsupported;
    this.notes = parent.notes;
  }

  /** The same object read as one of a class; `aliases` are other names of its fields, which come before their own. */
  ofClass(defaults: ClassFields, aliases: Readonly<Record<string, string>> = {}): Fields {
    const values = { ...this.values };
    for (const [alias, name] of Object.entries(aliases)) {
      if (values[alias] === null) this.refuse(`${this.prefix}${alias} null`);
      // The class checks its own field before the other name's value takes its place.
      const wrong = values[alias] !== undefined && values[name] === null && !(defaults[name] instanceof Optional);
      if (wrong) this.refuse(`${this.prefix}${name} null`);
      // Scaled positions without a trained length of their own take the field's before the other name's replaces it.
      const apart = values[alias] !== undefined && values[name] !== undefined && values[alias] !== values[name];
      if (apart && name === 'max_position_embeddings' && lacksTrainedLength(values))
        this.refuse(`${this.prefix}${alias} beside another ${name} and scaled positions`);
      if (values[alias] !== undefined) values[name] = values[alias];
      delete values[alias];
    }
    return new Fields(values, this.where, this.prefix, this, defaults);
  }

  /** A field as it is in the file, or its default; undefined if it has none. */
  value(name: string): unknown {
    this.#read.add(name);
    const value = this.values[name];
    if (value !== undefined) return value;
    const byClass = this.defaults[name];
    return byClass instanceof Optional ? byClass.value : byClass;
  }

  /** Whether the file names a field, be it null. */
  states(name: string): boolean {
    this.#read.add(name);
    return this.values[name] !== undefined;
  }

  /** Whether a field has a value, by the file or by default. */
  has(name: string): boolean {
    const value = this.value(name);
    return value !== undefined && value !== null;
  }

  /**
   * A whole number of at least `least` and at most what is taken of its kind (`LIMITS`); `otherwise` where the field is
   * null or has no default.
   */
  count(name: string, otherwise?: number, least = 1): number {
    const isCount = (v: unknown): v is number => typeof v === 'number' && Number.isSafeInteger(v) && v >= least;
    const count = this.#typed(name, otherwise, isCount, `a whole number >= ${least}`);
    const { most } = LIMITS[kindOf(name)];
    return this.#typed(name, count, (v) => !isCount(v) || v <= most, `a whole number <= ${most}`);
  }

  number(name: string, otherwise?: number): number {
    return this.#typed(name, otherwise, (v) => typeof v === 'number' && Number.isFinite(v), 'a number');
  }

  positive(name: string, otherwise?: number): number {
    const fits = (v: unknown) => typeof v === 'number' && Number.isFinite(v) && v > 0;
    return this.#typed(name, otherwise, fits, 'a number above 0');
  }

  flag(name: string, otherwise?: boolean): boolean {
    return this.#typed(name, otherwise, (v) => typeof v === 'boolean', 'true or false');
  }

  text(name: string, otherwise?: string): string {
    return this.#typed(name, otherwise, (v) => typeof v === 'string', 'a text');
  }

  /** A list with an entry per layer, or null if it is missing. */
  perLayer<T extends string | number>(name: string, kind: 'string' | 'number', layers: number): T[] | null {
    if (!this.has(name)) return null;
    const list = this.list<T>(name, kind);
    if (list.length === layers) return list;
    throw new DataError(`${this.where}: ${name} has ${list.length} entries for num_hidden_layers ${layers}`, {
      details: { where: this.where, field: name },
    });
  }

  /** A list of texts or numbers; empty if it is null or missing. */
  list<T extends string | number>(name: string, kind: 'string' | 'number'): T[] {
    const fits = (v: unknown) => Array.isArray(v) && v.every((x) => typeof x === kind);
    return this.#typed<T[]>(name, [], fits, `a list of ${kind}s`);
  }

  /** The fields of an object within, or null if it is missing. */
  object(name: string): Fields | null {
    if (!this.has(name)) return null;
    const fits = (v: unknown) => typeof v === 'object' && !Array.isArray(v);
    const inner = this.#typed<Json>(name, undefined, fits, 'an object');
    return this.inner(name, inner);
  }

  /** An object that stands for one within. */
  inner(name: string, values: Json): Fields {
    return new Fields(values, this.where, `${this.prefix}${name}.`, this);
  }

  /** This object with the fields of another in place of its own. */
  over(other: Fields): Fields {
    return new Fields({ ...this.values, ...other.values }, this.where, other.prefix, this);
  }

  /** Whether the class has a field of this name. */
  knows(name: string): boolean {
    return this.defaults[name] !== undefined;
  }

  /** Notes a feature that cannot be imported. */
  refuse(feature: string): void {
    if (!this.unsupported.includes(feature)) this.unsupported.push(feature);
  }

  note(text: string): void {
    if (!this.notes.includes(text)) this.notes.push(text);
  }

  /** Notes `name` as a feature that cannot be imported unless it is missing, one of `allowed`, or null by its class. */
  only(name: string, ...allowed: readonly unknown[]): void {
    const value = this.value(name);
    if (value === undefined || allowed.includes(value) || (value === null && this.#takesNull(name))) return;
    this.refuse(`${this.prefix}${name} ${showValue(value)}`);
  }

  /** Fields that have been read for their effect, and have none beside the others. */
  without(...names: readonly string[]): void {
    for (const name of names) this.#read.add(name);
  }

  /** Fields that the class does not heed, but whose kind of value it checks: another kind is refused. */
  unheeded(...names: readonly string[]): void {
    for (const name of names) {
      const value = this.value(name);
      const byClass = this.defaults[name];
      const like = byClass instanceof Optional ? byClass.value : byClass;
      const fits = value === null ? this.#takesNull(name) : like === null || typeof value === typeof like;
      if (!fits) this.refuse(`${this.prefix}${name} ${shown(value)}`);
    }
  }

  /** Refuses what nothing has read and what would change the model: fields of the class, and of all classes. */
  refuseUnread(): void {
    for (const [name, value] of Object.entries(this.values)) {
      if (this.#read.has(name) || WITHOUT_EFFECT.has(name)) continue;
      const byClass = this.defaults[name];
      const harmless = byClass instanceof Optional ? [byClass.value] : byClass === undefined ? SHARED[name] : [byClass];
      if (harmless === undefined || harmless.some((other) => JSON.stringify(other) === JSON.stringify(value))) continue;
      this.refuse(`${this.prefix}${name} ${shown(value)}`);
    }
  }

  #typed<T>(name: string, otherwise: T | undefined, fits: (value: unknown) => boolean, what: string): T {
    const value = this.value(name);
    if (value === null && !this.#takesNull(name)) throw this.#wrong(name, `null, which is not ${what}`);
    if (value === undefined || value === null) {
      if (otherwise !== undefined) return otherwise;
      throw this.#wrong(name, `${value === null ? 'null' : 'missing'} (it must be ${what})`);
    }
    if (fits(value)) return value as T;
    throw this.#wrong(name, `${showValue(value)}, which is not ${what}`);
  }

  #takesNull(name: string): boolean {
    return this.defaults[name] instanceof Optional;
  }

  #wrong(name: string, how: string): DataError {
    const field = `${this.prefix}${name}`;
    return new DataError(`${this.where}: ${field} is ${how}`, { details: { where: this.where, field } });
  }
}

/** A value in a message; long ones are cut. */
function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
