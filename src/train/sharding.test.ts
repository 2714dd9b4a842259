import { describe, expect, it } from 'vitest';
import { parameterSpecs, resolveModelConfig } from '../model/index.js';
import { parameterSharding } from './sharding.js';

describe('parameters on a mesh', () => {
  it('divide what leaves a mixer by rows over tensor, what enters it by columns, and taps not at all', () => {
    const model = resolveModelConfig({
      hiddenSize: 64,
      numHeads: 4,
      layers: 'full lightning gla mamba2 gdn kda rwkv7 mlstm conv',
    });
    const mesh = { fsdp: 2, tensor: 4 };
    const specs = parameterSpecs(model).filter((s) => s.part === 'mixer' && s.shape.length >= 2);
    const by = (end: RegExp) => specs.filter((s) => end.test(s.name)).map((s) => parameterSharding(s, mesh));
    const [out, taps] = [/\.(wo|wout)$/, /conv\.weight$/];
    expect(by(out)).toEqual(new Array(9).fill([['tensor', 'fsdp'], []]));
    // 12 rows divide over 4 devices, not over 8.
    expect(parameterSharding({ role: 'out', shape: [12, 64] }, mesh)).toEqual([['tensor'], ['fsdp']]);
    expect(by(taps)).toEqual(new Array(5).fill([['fsdp'], []]));
    const rest = specs.filter((s) => !out.test(s.name) && !taps.test(s.name));
    for (const s of rest) expect(parameterSharding(s, mesh)[0], s.name).toEqual(['fsdp']);
  });
});
