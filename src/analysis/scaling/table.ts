/** Tables of trained models, as the study publishes them: `model_size token_multiplier n loss`, in TSV or CSV. */
import { entry, DataError, readUtf8, parseCsv, clip, listed } from '../../core/index.js';
import type { ScalingPoint } from './law.js';

/** The columns of the study's table of trained models. */
export const SCALING_COLUMNS = ['model_size', 'token_multiplier', 'n', 'loss'] as const;

/** The points of a table of trained models. */
export interface ScalingTable {
  readonly points: readonly ScalingPoint[];
  /** The loss column as it stands, row by row. */
  readonly raw: readonly number[];
}

/** What the table's loss column holds. */
export interface TableOptions {
  /** The loss column holds LongPPL (a perplexity); its logarithm is fitted. */
  readonly longppl?: boolean;
}

/**
 * Reads a table of trained models from a file.
 * @throws DataError or StoreError, see `parseScalingTable`
 */
export function readScalingTable(path: string, options: TableOptions = {}): ScalingTable {
  const text = readUtf8(path, 'drop');
  return parseScalingTable(text, path, options);
}

/**
 * Reads a table. `n` is the number of parameters; `token_multiplier` is tokens per parameter, such as `200.11n` or
 * `200.11`. Columns may come in any order, beside others; the separator is a tab if the header has one, else a comma.
 *
 * @throws DataError naming missing columns, the line of a value that is no positive number, or too few rows
 */
export function parseScalingTable(text: string, where: string, { longppl = false }: TableOptions = {}): ScalingTable {
  const firstLine = /[^\r\n]+/.exec(text)?.[0] ?? '';
  const [header, ...rows] = parseCsv(text, where, firstLine.includes('\t') ? '\t' : ',');
  const names = (header?.cells ?? []).map((name) => name.trim());
  const missing = SCALING_COLUMNS.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    const has = listed(names.filter((n) => n !== ''));
    throw new DataError(
      `${where}: column${missing.length > 1 ? 's' : ''} ${missing.join(', ')} missing; the header has ${has || 'nothing'} ` +
        `and needs ${SCALING_COLUMNS.join(', ')}`,
      { details: { where, missing } },
    );
  }
  const twice = SCALING_COLUMNS.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (twice !== undefined) {
    throw new DataError(`${where}: the header has ${twice} twice; rename one`, { details: { where, twice } });
  }
  // Columns are found by name: tables of the study have them in different orders, beside others.
  const at = Object.fromEntries(SCALING_COLUMNS.map((name) => [name, names.indexOf(name)]));
  const points: ScalingPoint[] = [];
  const raw: number[] = [];
  for (const { cells, line } of rows) {
    const place = `${where}:${line}`;
    const cell = (name: (typeof SCALING_COLUMNS)[number]) => (cells[entry(at, name)] ?? '').trim();
    const n = positive(cell('n'), 'n', place);
    const loss = positive(cell('loss'), 'loss', place);
    const multiplier = positive(cell('token_multiplier').replace(/\s*n$/i, ''), 'token_multiplier', place);
    const y = longppl ? Math.log(loss) : loss;
    if (!(y > 0)) {
      throw new DataError(`${place}: a LongPPL of ${loss} has no positive logarithm, which a scaling law needs`, {
        details: { where: place },
      });
    }
    points.push({ size: cell('model_size'), N: n, D: multiplier * n, y });
    raw.push(loss);
  }
  if (points.length < 5) {
    throw new DataError(`${where} has ${points.length} rows; a scaling law needs at least five points`, {
      details: { where, rows: points.length },
    });
  }
  return { points, raw };
}

function positive(text: string, column: string, place: string): number {
  const value = text === '' ? NaN : Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new DataError(`${place}: ${column} is ${text === '' ? 'empty' : clip(text)}, expected a positive number`, {
    details: { where: place, column },
  });
}
