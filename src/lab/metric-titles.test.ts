import { describe, expect, it } from 'vitest';
import { MEASURE_NAMES, MEASURES } from './measures/table.js';
import { metricTitle } from './metric-titles.js';

/** A result of each measure with everything in it. */
const score = { targets: 1, accuracy: 0.5, accuracyLow: 0, accuracyHigh: 1, loss: 1, lossLow: 0, lossHigh: 2 };
const bin = { from: 65, to: 128, onset: score, inside: score, all: score };
const RESULT = {
  loss: 1,
  perPositionLoss: null,
  recall: { bins: [{ from: 65, to: 128, probability: 0.5, accuracy: 0.5, count: 1 }], overall: { probability: 0.5 } },
  needle: { lengths: [64], depths: [0], accuracy: [[1]], probability: [[1]] },
  ar: { maxCount: 4, documents: 1, order: 2, countedIn: 'training', all: score, fresh: score, bins: [bin], far: bin },
};

describe('metrics in words', () => {
  it.each(MEASURE_NAMES)('has words for every metric of the measure %s', (name) => {
    const measure = MEASURES[name] as { metrics(result: unknown): Readonly<Record<string, unknown>> };
    const logged = Object.entries(measure.metrics(RESULT)).filter(([, value]) => value != null);
    expect(logged.map(([metric]) => metric).filter((metric) => metricTitle(metric) === null)).toEqual([]);
    // Nor words for what is not logged.
    expect(logged).toHaveLength(Object.keys(MEASURES[name].metricWords).length);
  });

  it('puts the distances of a name into its words, and knows no others', () => {
    expect(metricTitle('eval/recall/65-128')).toBe('Recall at distances 65 to 128 (probability of the right value)');
    expect(metricTitle('eval/loss')).toBe('Held-out loss (nats per token)');
    expect(metricTitle('train/grad_norm')).toBe('Gradient norm');
    expect(metricTitle('eval/other/1-2')).toBeNull();
  });
});
