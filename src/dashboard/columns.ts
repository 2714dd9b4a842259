/**
 * The points of one metric in a bounded number of buckets. A bucket keeps where it starts, and the least, the largest
 * and the sum of its values, so that no extreme is lost however many points there are. When the buckets are full,
 * neighbors are merged and each holds twice as many points: points can be added at any time, and each is read once.
 */

/** The most buckets of a column; after a merge there are half as many. */
export const MAX_BUCKETS = 256;
const FIRST_ROOM = 16;

/** The numbers of a column, each list `n` long. */
export interface ColumnData {
  readonly n: number;
  /** Points in a full bucket, a power of 2. */
  readonly perBucket: number;
  /** Points in the last bucket; all before are full. */
  readonly inLast: number;
  /** Where each bucket begins: optimizer steps. */
  readonly step: Float64Array;
  /** Where each bucket begins: training tokens. */
  readonly tokens: Float64Array;
  /** Where each bucket begins: seconds of run time. */
  readonly time: Float64Array;
  /** The least value of each bucket, in the metric's unit. */
  readonly low: Float32Array;
  /** The largest value of each bucket, in the metric's unit. */
  readonly high: Float32Array;
  /** The sum of the values of each bucket, in the metric's unit. */
  readonly sum: Float64Array;
  /** Where the last point lies: the last bucket goes on as a run does. */
  readonly end: Readonly<Record<'step' | 'tokens' | 'time', number>>;
}

/** A metric's points in buckets, which grows point by point. */
export class Column {
  #n = 0;
  #perBucket = 1;
  #inLast = 0;
  #room = FIRST_ROOM;
  #step = new Float64Array(FIRST_ROOM);
  #tokens = new Float64Array(FIRST_ROOM);
  #time = new Float64Array(FIRST_ROOM);
  #low = new Float32Array(FIRST_ROOM);
  #high = new Float32Array(FIRST_ROOM);
  #sum = new Float64Array(FIRST_ROOM);
  #endStep = 0;
  #endTokens = 0;
  #endTime = 0;

  /** A column that goes on from stored numbers. */
  static from(data: ColumnData): Column {
    const column = new Column();
    column.#grow(Math.max(FIRST_ROOM, data.n));
    column.#n = data.n;
    column.#perBucket = data.perBucket;
    column.#inLast = data.inLast;
    column.#step.set(data.step);
    column.#tokens.set(data.tokens);
    column.#time.set(data.time);
    column.#low.set(data.low);
    column.#high.set(data.high);
    column.#sum.set(data.sum);
    column.#endStep = data.end.step;
    column.#endTokens = data.end.tokens;
    column.#endTime = data.end.time;
    return column;
  }

  /** Adds a finite value. */
  push(step: number, tokens: number, time: number, value: number): void {
    this.#endStep = step;
    this.#endTokens = tokens;
    this.#endTime = time;
    if (this.#n > 0 && this.#inLast < this.#perBucket) {
      const i = this.#n - 1;
      if (value < (this.#low[i] ?? 0)) this.#low[i] = value;
      if (value > (this.#high[i] ?? 0)) this.#high[i] = value;
      this.#sum[i] = (this.#sum[i] ?? 0) + value;
      this.#inLast += 1;
      return;
    }
    if (this.#n === MAX_BUCKETS) this.#halve();
    if (this.#n === this.#room) this.#grow(2 * this.#room);
    const i = this.#n;
    this.#step[i] = step;
    this.#tokens[i] = tokens;
    this.#time[i] = time;
    this.#low[i] = value;
    this.#high[i] = value;
    this.#sum[i] = value;
    this.#n += 1;
    this.#inLast = 1;
  }

  /** The numbers as they are now; views that the next point may change. */
  data(): ColumnData {
    const n = this.#n;
    return {
      ...{ n, perBucket: this.#perBucket, inLast: this.#inLast },
      step: this.#step.subarray(0, n),
      tokens: this.#tokens.subarray(0, n),
      time: this.#time.subarray(0, n),
      low: this.#low.subarray(0, n),
      high: this.#high.subarray(0, n),
      sum: this.#sum.subarray(0, n),
      end: { step: this.#endStep, tokens: this.#endTokens, time: this.#endTime },
    };
  }

  /** Merges neighbors: called where all buckets are full, which they are afterwards too. */
  #halve(): void {
    const half = this.#n / 2;
    for (let i = 0; i < half; i++) {
      const [a, b] = [2 * i, 2 * i + 1];
      this.#step[i] = this.#step[a] ?? 0;
      this.#tokens[i] = this.#tokens[a] ?? 0;
      this.#time[i] = this.#time[a] ?? 0;
      this.#low[i] = Math.min(this.#low[a] ?? 0, this.#low[b] ?? 0);
      this.#high[i] = Math.max(this.#high[a] ?? 0, this.#high[b] ?? 0);
      this.#sum[i] = (this.#sum[a] ?? 0) + (this.#sum[b] ?? 0);
    }
    this.#n = half;
    this.#perBucket *= 2;
    this.#inLast = this.#perBucket;
  }

  #grow(room: number): void {
    const wider = (old: Float64Array) => {
      const list = new Float64Array(room);
      list.set(old);
      return list;
    };
    const wider32 = (old: Float32Array) => {
      const list = new Float32Array(room);
      list.set(old);
      return list;
    };
    [this.#step, this.#tokens, this.#time] = [wider(this.#step), wider(this.#tokens), wider(this.#time)];
    [this.#low, this.#high, this.#sum] = [wider32(this.#low), wider32(this.#high), wider(this.#sum)];
    this.#room = room;
  }
}

/** How many points a bucket of a column holds. */
export function pointsIn({ n, perBucket, inLast }: ColumnData, bucket: number): number {
  return bucket === n - 1 ? inLast : perBucket;
}

/** A column in memory of its own. */
export function copied(data: ColumnData): ColumnData {
  const { step, tokens, time, low, high, sum } = data;
  return {
    ...data,
    ...{ step: step.slice(), tokens: tokens.slice(), time: time.slice() },
    ...{ low: low.slice(), high: high.slice(), sum: sum.slice() },
  };
}

/** How many neighbors are merged into one where at most `most` buckets are wanted of `n`: a power of 2. */
export function mergedOf(n: number, most: number): number {
  let factor = 1;
  while (Math.ceil(n / factor) > Math.max(1, most)) factor *= 2;
  return factor;
}
