/**
 * Which settings (`--set`) change what is found about the checkpoints of a run. Their weights and their model are what
 * training made them, so that a setting of these could only be left aside; it is refused by name.
 */
import { ConfigError, listed } from '../core/index.js';
import { isPlain, parsePath } from './overrides.js';
import type { Setting } from './run-config.js';

const ENGINE_KEYS = ['engine', 'threads', 'mesh', 'deterministic'];
const DATA_KEYS = [
  ...['seed', 'data', 'train.seqLen', 'train.batchSize', 'train.accumulate', 'train.precision'],
  ...['from', 'seqLen', 'batchSize', 'accumulate', 'weights'].map((key) => `train.stages.*.${key}`),
];

/** The keys of a run's configuration that are read for checkpoints, by what is done with them. */
const KEYS_READ = {
  measuring: ['eval', ...DATA_KEYS, ...ENGINE_KEYS],
  tracing: ['eval.trace', 'eval.precision', ...DATA_KEYS, ...ENGINE_KEYS],
  exporting: ['data'],
} as const satisfies Record<string, readonly string[]>;

/** What is done with the checkpoints of a run. */
export type CheckpointUse = keyof typeof KEYS_READ;

/**
 * Checks that every setting has an effect on what is done with checkpoints.
 *
 * @throws ConfigError naming the first key that has none, and those that have
 */
export function checkSettingsInEffect(set: readonly Setting[], use: CheckpointUse): void {
  const read = KEYS_READ[use].map((key) => key.split('.'));
  for (const [path, value] of set) {
    const idle = idleKey(parsePath(path).map(String), value, read);
    if (idle === null) continue;
    const isModel = idle === 'model' || idle.startsWith('model.');
    const why = isModel ? 'a checkpoint keeps the model that it was trained as' : `${use} reads no ${idle}`;
    throw new ConfigError(
      `--set ${idle} has no effect on a checkpoint: ${why}; train a run with it, or leave it out ` +
        `(keys that have one: ${listed(KEYS_READ[use])})`,
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
