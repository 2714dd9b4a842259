/** Far hits of associative recall in a run's held-out text: to choose heads by, and to judge masked heads on. */
import type { MaskedTask, TraceSample } from '../analysis/index.js';
import { append, at, ConfigError, f64At, maxOf, wilson } from '../core/index.js';
import { nextBatch } from '../data/index.js';
import { arBins, ArTally, farFrom, type ArRow, type ArTargets } from '../eval/index.js';
import type { SampleScore, ScoreSample } from '../loaded/index.js';
import { openRunData, runAtStep } from '../train/index.js';
import { arEvalSchema, findInRows } from './measures/associative-recall.js';
import type { OpenedModel } from './open-model.js';

/** Hits taken of one row at most where heads are chosen, so that samples come from many documents. */
const PER_ROW = 4;
/** Rows looked at for one hit, at most. */
const ROWS_PER_HIT = 50;

/** Associative recall of a model with some heads off. */
export interface MaskedArScore {
  /** Top-1 accuracy of far hits, a share of 1. */
  readonly accuracy: number;
  /** Lower end of its 95 % interval over documents; of a single document, Wilson's over hits. */
  readonly low: number;
  /** Upper end of that interval, a share of 1. */
  readonly high: number;
  /** Mean probability of the tokens of far hits. */
  readonly probability: number;
  /** Mean loss of far hits, in nats. */
  readonly loss: number;
  /** Mean loss of every token of the same documents, in nats. */
  readonly allLoss: number;
  /** Far hits. */
  readonly samples: number;
  /** Documents that they stand in. */
  readonly documents: number;
  /** The nearest distance that counts as far, in tokens. */
  readonly from: number;
}

/** What masking reads of held-out text. */
export interface ArHits {
  /** Samples that ask for one token each, whose span is what it could be copied from. */
  readonly choosing: readonly TraceSample[];
  /** Documents with far hits, in rows behind those of `choosing`, and what their scores come to. */
  readonly judging: MaskedTask<MaskedArScore>;
}

/** How many hits are read. */
export interface ArHitCounts {
  /** Samples to choose heads by; 0 for none. */
  readonly choosing: number;
  /** Far hits to judge on: documents are read until there are as many. */
  readonly judging: number;
}

/** A document's part of a row, read alone as a model that keeps documents apart reads it. */
interface Piece {
  readonly row: ArRow;
  readonly found: ArTargets;
}

/**
 * Reads the far hits of a run's held-out text, from its start.
 *
 * @param note told, in one sentence, what takes long
 * @throws ConfigError if the model has no run, or the run's data hold no such hit out
 */
export function arHits(model: OpenedModel, counts: ArHitCounts, note: (text: string) => void): ArHits {
  const named = model.run;
  if (named === null) throw new ConfigError(`${model.name}: associative recall needs a run with held-out text`);
  const run = runAtStep(named.run, model.step ?? 0);
  using data = openRunData(run);
  const stream = data.heldOut();
  if (data.grams === null || stream === null) {
    throw new ConfigError(`${model.name}: the data of the run hold no text out, so it has no associative recall`);
  }
  const asked = run.eval.ar;
  const { maxCount } = arEvalSchema.parse(typeof asked === 'object' ? asked : {});
  const isRare = data.grams.rarity(maxCount, note);
  const far = farFrom(stream.seqLen);
  const grams = data.grams;
  const next = (): Piece[] => {
    const rows = findInRows(nextBatch(stream, 1, true), grams, isRare);
    return rows.flatMap(({ row, found }) => piecesOf(row, found)).filter(({ found }) => farHits(found, far).length > 0);
  };
  const choosing: TraceSample[] = [];
  for (let i = 0; choosing.length < counts.choosing && i < ROWS_PER_HIT * counts.choosing; i++) {
    const samples = next().flatMap((piece) => farHits(piece.found, far).map((t) => traceSample(piece, t)));
    append(choosing, samples.slice(0, Math.min(PER_ROW, counts.choosing - choosing.length)));
  }
  const pieces: Piece[] = [];
  let hits = 0;
  for (let i = 0; hits < counts.judging && i < ROWS_PER_HIT * counts.judging; i++) {
    const own = next();
    append(pieces, own);
    hits += own.reduce((sum, { found }) => sum + farHits(found, far).length, 0);
  }
  if (hits === 0 || choosing.length < Math.min(1, counts.choosing)) {
    throw new ConfigError(`${model.name}: no rare bigram comes back ${far} tokens or more later in its held-out text`);
  }
  return { choosing, judging: taskOf(pieces, { far, seqLen: stream.seqLen, maxCount }) };
}

/** Targets of far hits. */
const farHits = ({ distance }: ArTargets, far: number): number[] =>
  [...distance].flatMap((away, t) => (away >= far ? [t] : []));

/** The documents of a row, each by itself. */
function piecesOf(row: ArRow, found: ArTargets): Piece[] {
  const { documents, tokens } = row;
  const starts = Array.from(tokens, (_, t) => t).filter((t) => t === 0 || documents?.[t] !== documents?.[t - 1]);
  return starts.map((start, i): Piece => {
    const end = starts[i + 1] ?? tokens.length;
    const own = documents === null ? null : Array.from({ length: end - start }, (_, t) => documents[start + t] ?? -1);
    return {
      row: {
        tokens: tokens.slice(start, end),
        targets: row.targets.slice(start, end),
        documents: own,
        counts: (t) => row.counts(start + t),
      },
      found: { kind: found.kind.slice(start, end), distance: found.distance.slice(start, end) },
    };
  });
}

/** Asks for the target of a hit; the token that it could be copied from stands as far back as the gram that it ends. */
function traceSample({ row, found }: Piece, t: number): TraceSample {
  const from = t + 1 - (found.distance[t] ?? 0);
  return { tokens: row.tokens.slice(0, t + 1), queryPosition: t, needleSpan: [from, from + 1] };
}

/** Every token of the documents, and the tally of what a model makes of them. */
function taskOf(
  pieces: readonly Piece[],
  { far, seqLen, maxCount }: { readonly far: number; readonly seqLen: number; readonly maxCount: number },
): MaskedTask<MaskedArScore> {
  const length = maxOf(pieces.map(({ row }) => row.tokens.length));
  // Samples have equally many targets: those of shorter documents repeat their last one, which is not counted again.
  const samples = pieces.map(({ row: { tokens, targets } }): ScoreSample => {
    const place = (i: number) => Math.min(i, tokens.length - 1);
    return {
      tokens,
      positions: Array.from({ length }, (_, i) => place(i)),
      targets: Array.from({ length }, (_, i) => targets[place(i)] ?? 0),
    };
  });
  const tally = new ArTally(arBins(seqLen), far, maxCount);
  for (const { row, found } of pieces) tally.add(row, found);
  const score = (scores: readonly SampleScore[]): MaskedArScore => {
    const own = pieces.map(({ row }, i) => {
      const { loss: losses, hit } = at(scores, i);
      return { loss: losses.subarray(0, row.tokens.length), hit: hit.subarray(0, row.tokens.length) };
    });
    const hitLosses = pieces.flatMap(({ found }, i) => farHits(found, far).map((t) => f64At(at(own, i).loss, t)));
    const probability = hitLosses.reduce((sum, x) => sum + Math.exp(-x), 0);
    const { far: hits, all, documents } = tally.record(own);
    const { targets, accuracy, loss, accuracyLow, accuracyHigh } = hits.all;
    const share = accuracy ?? 0;
    const overHits = wilson(share * targets, targets);
    return {
      ...{ accuracy: share, low: accuracyLow ?? overHits.low, high: accuracyHigh ?? overHits.high },
      ...{ probability: probability / targets, loss: loss ?? 0, allLoss: all.loss ?? 0 },
      ...{ samples: targets, documents, from: far },
    };
  };
  return { samples, score };
}
