/** Files of predictions that grow row by row: a killed run goes on where it stopped. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { append, AppendedFile, fileError, parseJsonLines, wholeLines, writeFileAtomic } from '../../core/index.js';
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

  /**
   * Opens a file, or begins one. A last line that was cut off by a kill is dropped. The file is made anew, so that what
   * a process adds that froze and lost the folder goes nowhere.
   */
  constructor(path: string) {
    this.path = path;
    const text = textOf(path);
    const whole = wholeLines(text);
    if (text !== '') writeFileAtomic(path, whole);
    const remedy = '; remove the file to make it again';
    this.rows = parseJsonLines(whole, path, rowSchema, { origin: 'store', remedy }).map(({ value }) => value);
  }

  /** Adds answers, which are on the disk when this returns. Throws `StoreError`. */
  add(rows: readonly PredictionRow[]): void {
    using file = new AppendedFile(this.path);
    file.append(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    file.sync();
    append(this.rows, rows);
  }
}

function textOf(path: string): string {
  try {
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  } catch (cause) {
    throw fileError('read', path, cause);
  }
}
