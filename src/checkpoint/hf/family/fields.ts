/** Reading `config.json`: typed fields with the defaults of Transformers, and a list of what cannot be imported. */
import { DataError, showValue } from '../../../core/index.js';

type Json = Readonly<Record<string, unknown>>;

/** The fields of a JSON object, under the names of the file. `null` counts as missing, as it does for Transformers. */
export class Fields {
  /** What the file asks for that Longsight's models do not have, in the order found. */
  readonly unsupported: string[];
  /** What a user should know of how the file was read. */
  readonly notes: string[];

  constructor(
    readonly values: Json,
    /** Path of the file, for messages. */
    readonly where: string,
    /** The path of the object within the file, such as `rope_parameters.`, for messages. */
    private readonly prefix = '',
    parent: Pick<Fields, 'unsupported' | 'notes'> = { unsupported: [], notes: [] },
  ) {
    this.unsupported = parent.unsupported;
    this.notes = parent.notes;
  }

  has(name: string): boolean {
    return this.values[name] !== undefined && this.values[name] !== null;
  }

  /** A whole number of at least `least`. */
  count(name: string, fallback?: number, least = 1): number {
    return this.#read(
      name,
      fallback,
      (v) => Number.isSafeInteger(v) && (v as number) >= least,
      `a whole number >= ${least}`,
    );
  }

  number(name: string, fallback?: number): number {
    return this.#read(name, fallback, (v) => typeof v === 'number' && Number.isFinite(v), 'a number');
  }

  positive(name: string, fallback?: number): number {
    const fits = (v: unknown) => typeof v === 'number' && Number.isFinite(v) && v > 0;
    return this.#read(name, fallback, fits, 'a number above 0');
  }

  flag(name: string, fallback?: boolean): boolean {
    return this.#read(name, fallback, (v) => typeof v === 'boolean', 'true or false');
  }

  text(name: string, fallback?: string): string {
    return this.#read(name, fallback, (v) => typeof v === 'string', 'a text');
  }

  /** A list with an entry per layer, or null if it is missing. */
  perLayer<T extends string | number>(name: string, kind: 'string' | 'number', layers: number): T[] | null {
    if (!this.has(name)) return null;
    const list = this.#read<unknown[]>(
      name,
      undefined,
      (v) => Array.isArray(v) && v.every((x) => typeof x === kind),
      `a list of ${kind}s`,
    );
    if (list.length === layers) return list as T[];
    throw new DataError(`${this.where}: ${name} has ${list.length} entries for num_hidden_layers ${layers}`, {
      details: { where: this.where, field: name },
    });
  }

  /** The fields of an object within, or null if it is missing. */
  object(name: string): Fields | null {
    if (!this.has(name)) return null;
    const fits = (v: unknown) => typeof v === 'object' && !Array.isArray(v);
    const inner = this.#read<Json>(name, undefined, fits, 'an object');
    return new Fields(inner, this.where, `${this.prefix}${name}.`, this);
  }

  /** Notes a feature that cannot be imported. */
  refuse(feature: string): void {
    if (!this.unsupported.includes(feature)) this.unsupported.push(feature);
  }

  note(text: string): void {
    if (!this.notes.includes(text)) this.notes.push(text);
  }

  /** Notes `name` as a feature that cannot be imported unless it is missing or one of `allowed`. */
  only(name: string, ...allowed: readonly unknown[]): void {
    if (this.has(name) && !allowed.includes(this.values[name])) {
      this.refuse(`${this.prefix}${name} ${showValue(this.values[name])}`);
    }
  }

  #read<T>(name: string, fallback: T | undefined, fits: (value: unknown) => boolean, what: string): T {
    const value = this.values[name];
    if (value === undefined || value === null) {
      if (fallback !== undefined) return fallback;
      throw this.#wrong(name, `missing (it must be ${what})`);
    }
    if (fits(value)) return value as T;
    throw this.#wrong(name, `${showValue(value)}, which is not ${what}`);
  }

  #wrong(name: string, how: string): DataError {
    const field = `${this.prefix}${name}`;
    return new DataError(`${this.where}: ${field} is ${how}`, { details: { where: this.where, field } });
  }
}
