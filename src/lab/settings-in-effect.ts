/**
 * Which settings (`--set`) change what is found about the checkpoints of a run. Their weights and their model are what
 * training made them, so that a setting of these could only be left aside; it is refused by name.
 */
import { ConfigError, isPlain, listed } from '../core/index.js';
import { parsePath } from './overrides.js';
import type { Setting } from './run-config.js';

const ENGINE_KEYS = ['engine', 'threads', 'mesh', 'deterministic'];
const SEQUENCE_KEYS = ['seed', 'data', 'train.seqLen'];
const PRECISION_KEYS = ['train.precision', 'eval.precision'];

/** Keys that say on which data, in which batches, a run measures a checkpoint of one of its stages. */
export const STAGE_KEYS: readonly string[] = [
  ...['train.batchSize', 'train.accumulate'],
  ...['from', 'seqLen', 'batchSize', 'accumulate', 'weights'].map((key) => `train.stages.*.${key}`),
];

/** What is done with the checkpoints of a run, and the keys of its configuration that are read for that. */
export interface CheckpointUse {
  /** What messages call it, such as `tracing`. */
  readonly name: string;
  readonly keys: readonly string[];
}

/** What commands that are no analyses do with checkpoints. */
export const CHECKPOINT_USES = {
  measuring: {
    name: 'measuring',
    keys: ['eval', ...SEQUENCE_KEYS, 'train.precision', ...STAGE_KEYS, ...ENGINE_KEYS],
  },
  tracing: {
    name: 'tracing',
    keys: ['eval.trace', ...SEQUENCE_KEYS, ...PRECISION_KEYS, ...STAGE_KEYS, ...ENGINE_KEYS],
  },
  exporting: { name: 'exporting', keys: ['data'] },
} as const satisfies Record<string, CheckpointUse>;

/**
 * What an analysis does with checkpoints.
 *
 * @param needs an analysis of weights alone reads neither data nor engine
 * @param more keys that it reads beside those of the sequences, the precision and the engine
 */
export function analysisUse(
  name: string,
  needs: 'text' | 'needles' | 'weights',
  more: readonly string[],
): CheckpointUse {
  const keys = needs === 'weights' ? [] : [...SEQUENCE_KEYS, ...PRECISION_KEYS, ...ENGINE_KEYS];
  return { name, keys: [...more, ...keys] };
}

/**
 * Checks that every setting has an effect on what is done with checkpoints.
 *
 * @throws ConfigError naming the first key that has none, and those that have
 */
export function checkSettingsInEffect(set: readonly Setting[], { name, keys }: CheckpointUse): void {
  const read = keys.map((key) => key.split('.'));
  for (const [path, value] of set) {
    const idle = idleKey(parsePath(path).map(String), value, read);
    if (idle === null) continue;
    const isModel = idle === 'model' || idle.startsWith('model.');
    const why = isModel ? 'a checkpoint keeps the model that it was trained as' : `${name} reads no ${idle}`;
    throw new ConfigError(
      `${idle} (--set) has no effect on a checkpoint: ${why}; train a run with it, or leave it out ` +
        (keys.length === 0 ? '(no key has one)' : `(keys that have one: ${listed(keys)})`),
      { details: { path: idle } },
    );
  }
}

/** The first key at or below `path` that is not read; null where all are. */
function idleKey(path: readonly string[], value: unknown, read: readonly (readonly string[])[]): string | null {
  const agree = (key: readonly string[]): boolean =>
    key.every((part, i) => i >= path.length || part === '*' || part === path[i]);
  const matching = read.filter(agree);
  if (matching.some((key) => key.length <= path.length)) return null;
  const below = Array.isArray(value) || isPlain(value) ? Object.entries(value) : [];
  if (matching.length === 0 || below.length === 0) return path.join('.');
  return below.reduce<string | null>((found, [key, inner]) => found ?? idleKey([...path, key], inner, read), null);
}
