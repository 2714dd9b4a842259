/** Run folders as a run leaves them, made without training. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a folder is made of. */
export interface MadeRun {
  readonly name: string;
  readonly seed?: number;
  /** The layer pattern; default `swa:8 full`. */
  readonly layers?: string;
  readonly state?: 'running' | 'done' | 'failed' | 'interrupted';
  readonly message?: string;
  /** Lines of metrics, at 100 tokens each. */
  readonly lines?: number;
  readonly lr?: number;
  /** Names of metrics beside the training loss. */
  readonly metrics?: readonly string[];
}

/** Writes `config.json`, `status.json` and `metrics.jsonl` of a run of 100 steps. */
export function makeRun(dir: string, { name, seed = 1, layers = 'swa:8 full', ...more }: MadeRun): void {
  const { state = 'done', message, lines = 2, lr = 0.001, metrics = [] } = more;
  mkdirSync(dir, { recursive: true });
  const json = (file: string, value: unknown) => writeFileSync(join(dir, file), JSON.stringify(value, null, 2));
  json('config.json', {
    ...{ format: 1, name, versions: { longsight: '0.1.0' } },
    run: {
      ...{ seed, name, model: { layers, hiddenSize: 32, numHeads: 2, numLayers: 2, vocabSize: 64 } },
      ...{ data: [{ kind: 'recall' }], train: { seqLen: 10, batchSize: 10, steps: 100, lr }, engine: 'auto' },
    },
    engine: { name: 'onnx', library: 'onnxruntime', threads: 1, reason: 'made' },
    hardware: { cpu: 'A processor', cores: 2 },
    ...{ startedAt: '2026-01-02T03:04:05.000Z', resumes: [] },
  });
  json('status.json', { state, step: lines, tokens: 100 * lines, ...(message === undefined ? {} : { message }) });
  const line = (i: number) => {
    const own = Object.fromEntries(metrics.map((metric, k) => [metric, Math.cos(i / 5 + k)]));
    return JSON.stringify({
      step: i,
      tokens: 100 * i,
      time: i,
      'train/loss': 1 / i + seed / 100,
      'train/tok_per_sec': 100,
      ...own,
    });
  };
  writeFileSync(join(dir, 'metrics.jsonl'), Array.from({ length: lines }, (_, i) => `${line(i + 1)}\n`).join(''));
}
