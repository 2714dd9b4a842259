/** Files of predictions that grow row by row: a killed run goes on where it stopped. */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { fileError, StoreError, writeFileAtomic, append } from '../../core/index.js';
import type { Prediction } from './score.js';

const rowSchema = z.looseObject({
  index: z.int(),
  pred: z.string(),
  outputs: z.array(z.string()),
  length: z.int(),
  truncation: z.boolean(),
});

/** A row, in RULER's field names. */
export interface PredictionRow extends Prediction {
  /** Tokens of the prompt as the model read it. */
  readonly length: number;
  /** Whether the prompt was cut to fit. */
  readonly truncation: boolean;
}

/** A JSONL file of answers that grows answer by answer, so that a run that was stopped goes on. */
export class PredictionFile {
  readonly path: string;
  readonly rows: PredictionRow[];

  /** Opens a file, or begins one. A last line that was cut off by a kill is dropped. */
  constructor(path: string) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true });
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole !== text) writeFileAtomic(path, whole);
    this.rows = whole
      .split('\n')
      .slice(0, -1)
      .map((line, i) => parse(line, `${path}:${i + 1}`));
  }

  add(rows: readonly PredictionRow[]): void {
    try {
      appendFileSync(this.path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    } catch (cause) {
      throw fileError('write', this.path, cause);
    }
    append(this.rows, rows);
  }
}

function parse(line: string, where: string): PredictionRow {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new StoreError(`${where} is no prediction; remove the file to make it again`, { cause });
  }
  const result = rowSchema.safeParse(value);
  if (result.success) return result.data;
  const field = result.error.issues[0]?.path.join('.') ?? '';
  throw new StoreError(
    `${where} is no prediction (${field === '' ? 'no JSON object' : `${field} is wrong or missing`}); remove the file to make it again`,
    { cause: result.error },
  );
}
