/** Taps see every named site of a forward pass, and what they return is what the model goes on with. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph, mul } from '../../../src/graph/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  TapReader,
  type Tap,
  type TapSite,
} from '../../../src/model/index.js';

const sizes = { vocabSize: 7, hiddenSize: 8, numHeads: 2, headDim: 4, intermediateSize: 12 };
const config = resolveModelConfig({ ...sizes, layers: 'swa:2@1/full@1 gdn' });
const params = initialParameters(config, 1);

function logits(tap?: Tap): Float64Array {
  const values = parameterInputs(config);
  const tokens = input('tokens', 'i32', [1, 5]);
  const out = forward(config, values, tokens, tap === undefined ? {} : { tap }).logits;
  const given = { ...Object.fromEntries(params), tokens: tensorFrom('i32', [1, 5], [1, 4, 2, 6, 3]) };
  const graph = makeGraph({ ...Object.fromEntries(values), tokens }, { out });
  return toNumbers(evaluateReference(graph, given)['out'] as HostTensor);
}

describe('taps', () => {
  it('see every site, in order, and change nothing where they return what they got', () => {
    const sites: TapSite[] = [];
    const seen = logits((site, value) => (sites.push(site), value));
    expect([...seen]).toEqual([...logits()]);
    expect(sites).toEqual([
      { kind: 'embedding' },
      { kind: 'layerQueries', layer: 0 },
      { kind: 'layerKeys', layer: 0 },
      { kind: 'queries', layer: 0, firstHead: 0, heads: 1 },
      { kind: 'heads', layer: 0, firstHead: 0, heads: 1 },
      { kind: 'queries', layer: 0, firstHead: 1, heads: 1 },
      { kind: 'heads', layer: 0, firstHead: 1, heads: 1 },
      { kind: 'mixerOut', layer: 0 },
      { kind: 'stream', layer: 0 },
      { kind: 'mixerOut', layer: 1 },
      { kind: 'stream', layer: 1 },
    ]);
  });

  it('put another value in the place of one: a mixer without output is its heads without output', () => {
    const without = (kind: TapSite['kind']) =>
      logits((site, value) => ('layer' in site && site.kind === kind && site.layer === 0 ? mul(value, 0) : value));
    expect([...without('heads')]).toEqual([...without('mixerOut')]);
    expect([...without('heads')]).not.toEqual([...logits()]);
    // Queries of nothing, of a layer or of each of its groups, and keys of nothing give every key the same weight.
    expect([...without('layerQueries')]).toEqual([...without('queries')]);
    expect([...without('layerKeys')]).toEqual([...without('queries')]);
    expect([...without('queries')]).not.toEqual([...logits()]);
  });

  it('see the stream after layers that are recomputed, and nothing inside of them', () => {
    const sites: TapSite[] = [];
    const reader = new TapReader();
    const values = parameterInputs(config);
    const tokens = input('tokens', 'i32', [1, 5]);
    const tap: Tap = (site, value) => (sites.push(site), reader.tap(site, value));
    const { stream } = forward(config, values, tokens, { tap, remat: true });
    expect(sites).toEqual([{ kind: 'embedding' }, { kind: 'stream', layer: 0 }, { kind: 'stream', layer: 1 }]);
    expect(reader.stream.at(-1)).toBe(stream);
    expect(reader.queriesAndKeys(0)).toBeNull();
  });
});
