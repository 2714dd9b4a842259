/** What two runs that took the same way must have in common, to the bit. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Metrics that say when and how fast, not what. */
const OF_TIME = ['time', 'train/tok_per_sec'];

/** The weights and moments of every checkpoint as SHA-256, and every line of metrics without its times; one text. */
export function contentsOfRun(out: string): string {
  const checkpoints = join(out, 'checkpoints');
  const tensors = readdirSync(checkpoints)
    .sort()
    .flatMap((name) => ['model.safetensors', 'optimizer.safetensors'].map((file) => join(name, file)))
    .map(
      (file) =>
        `${file} ${createHash('sha256')
          .update(readFileSync(join(checkpoints, file)))
          .digest('hex')}`,
    );
  const metrics = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) =>
      JSON.stringify(JSON.parse(line), (key, value: unknown) => (OF_TIME.includes(key) ? undefined : value)),
    );
  return [...tensors, ...metrics].join('\n');
}
