import { describe, expect, it } from 'vitest';
import { kernelsNotUsed, whyNoCuda } from '../../../src/engine/index.js';
import { kernelSupport } from '../../../src/engine/xla/engine/kernels-in-use.js';
import { meshOf } from '../../../src/engine/xla/mesh/sharding.js';
import { TILE_KERNELS } from '../../../src/engine/xla/passes/fuse.js';
import { cli } from '../../support/cli.js';

const NAMES = [...TILE_KERNELS.map(({ name }) => name), 'recurrences', 'cuDNN attention'];

describe('doctor', () => {
  it('has a line for each kernel, with the reason why it cannot be used here', async () => {
    const { code, stdout } = await cli(['doctor', '--engine', 'reference']);
    expect(code).toBe(0);
    const why = whyNoCuda() ?? 'no engine that was asked for has it';
    const lines = stdout.split('\n').filter((line) => line.startsWith('xla:cuda '));
    expect(lines.map((line) => line.split(/ {2,}/).slice(1))).toEqual(NAMES.map((name) => [name, `not here: ${why}`]));
    expect(kernelsNotUsed(why).map(({ name }) => name)).toEqual(NAMES);
  });
});

describe('kernels of the xla engine', () => {
  const support = (mesh: object, cuda: boolean) =>
    Object.fromEntries(
      kernelSupport(meshOf(mesh), { cudnn: cuda, tileKernels: cuda }).map((k) => [
        k.name,
        k.takes ?? `not: ${k.whyNot}`,
      ]),
    );

  it('say what they take on one device', () => {
    expect(support({}, true)).toEqual({
      attention:
        'bf16: windows up to 256, heads of 32 or 64 channels; packed documents, heads of up to 128; chunks of prompts on caches, heads of 32, 64, 128, 256',
      norms: 'bf16 rows of up to 4096 channels',
      rotary: 'bf16 heads of 32 or 64 channels',
      SwiGLU: 'bf16, any width',
      loss: 'bf16 logits of up to 16384 classes, with their gradient',
      recurrences: 'bf16: multiples of 64 tokens, heads of up to 128 channels, 64 with keys of removal',
      'cuDNN attention':
        'bf16 attention that no tile kernel takes: heads of a multiple of 8 up to 128 channels, an even number of tokens, no sinks, no softcap',
    });
  });

  it('say why they take nothing where heads are divided, and beside CUDA', () => {
    const divided = support({ tensor: 2 }, true);
    expect(divided['SwiGLU']).toBe('not: channels are divided over devices');
    expect(divided['loss']).toBe('not: logits lie divided over tensor');
    expect(divided['norms']).toMatch(/^bf16/);
    expect(new Set(Object.values(support({}, false)))).toEqual(new Set(['not: it is for CUDA devices']));
  });
});

describe('a CUDA device', () => {
  it.each([
    [{ device: false, hidden: null, plugin: true }, 'this machine has no CUDA device'],
    [{ device: true, hidden: 'CUDA_VISIBLE_DEVICES hides it', plugin: true }, 'CUDA_VISIBLE_DEVICES hides it'],
    [{ device: true, hidden: null, plugin: false }, 'there is no PJRT plugin for CUDA'],
    [{ device: true, hidden: null, plugin: true }, null],
  ])('that is %j cannot be used because %s', ({ device, hidden, plugin }, why) => {
    expect(whyNoCuda({ hasDevice: () => device, hides: () => hidden, hasPlugin: () => plugin })).toBe(why);
  });
});
