/** Which accelerators a process may use, as CUDA would count them. */
import { describe, expect, it } from 'vitest';
import { messageOf } from '../support/folders.js';
import { createEngine, findAccelerators, type AcceleratorHost } from '../../src/engine/index.js';
import { chooseAccelerator, platformOf, xlaPlatforms } from '../../src/engine/index.js';

const uuid = (i: number) => `GPU-${'abcdefgh'[i] ?? 'z'}000-1111`;
const smi = (count: number, kinds = ['NVIDIA H200']) => ({
  list: Array.from({ length: count }, (_, i) => `GPU ${i}: ${kinds[i % kinds.length]} (UUID: ${uuid(i)})\n`).join(''),
  memory: Array.from({ length: count }, (_, i) => `${uuid(i)}, 143771, ${100 * i}\n`).join(''),
});

function host(
  count: number,
  env: AcceleratorHost['env'] = {},
  tool: ReturnType<typeof smi> | null = smi(count),
): AcceleratorHost {
  const files = ['null', 'nvidiactl', ...Array.from({ length: count }, (_, i) => `nvidia${i}`)];
  return {
    env,
    list: (folder) => (folder === '/dev' && count > 0 ? files : []),
    nvidiaSmi: (args) => (tool === null ? null : args[0] === '-L' ? tool.list : tool.memory),
  };
}

const seen = (h: AcceleratorHost) => findAccelerators(h).map((d) => [d.name, d.env['CUDA_VISIBLE_DEVICES']]);

describe('findAccelerators', () => {
  it.each([0, 1, 2, 8])('finds all %i devices of a host', (count) => {
    const found = findAccelerators(host(count));
    expect(found).toHaveLength(count);
    expect(found.map((d) => d.env['CUDA_VISIBLE_DEVICES'])).toEqual(Array.from({ length: count }, (_, i) => uuid(i)));
    if (count > 1) {
      expect(found[1]).toMatchObject({ platform: 'cuda', name: 'cuda:1', kind: 'NVIDIA H200', uuid: uuid(1) });
      expect(found[1]?.memory).toEqual({ totalBytes: 143771 * 2 ** 20, usedBytes: 100 * 2 ** 20 });
    }
  });

  it.each([
    ['', []],
    ['-1', []],
    ['none', []],
    ['2', [['cuda:0', '2']]],
    [
      '3,1',
      [
        ['cuda:0', '3'],
        ['cuda:1', '1'],
      ],
    ],
    [
      ' 3 , 1 ',
      [
        ['cuda:0', '3'],
        ['cuda:1', '1'],
      ],
    ],
    ['1,-1,2', [['cuda:0', '1']]],
    ['1,9,2', [['cuda:0', '1']]],
    ['1,1', [['cuda:0', '1']]],
    [uuid(2), [['cuda:0', uuid(2)]]],
    [
      `${uuid(2)},0`,
      [
        ['cuda:0', uuid(2)],
        ['cuda:1', '0'],
      ],
    ],
    ['GPU-c', [['cuda:0', 'GPU-c']]],
    ['GPU-', []],
    ['GPU-x,1', []],
  ])('reads CUDA_VISIBLE_DEVICES=%j as CUDA does', (value, devices) => {
    expect(seen(host(4, { CUDA_VISIBLE_DEVICES: value }))).toEqual(devices);
  });

  it('counts device files where there is no nvidia-smi', () => {
    expect(seen(host(2, {}, null))).toEqual([
      ['cuda:0', '0'],
      ['cuda:1', '1'],
    ]);
    expect(seen(host(2, { CUDA_VISIBLE_DEVICES: uuid(1) }, null))).toEqual([['cuda:0', uuid(1)]]);
    const wsl = { env: {}, list: (folder: string) => (folder === '/dev' ? ['dxg'] : []), nvidiaSmi: () => null };
    expect(seen(wsl)).toEqual([['cuda:0', '0']]);
  });

  it('gives out the parts of a divided device', () => {
    const tool = smi(2);
    const list = tool.list.replace(
      `(UUID: ${uuid(0)})\n`,
      `(UUID: ${uuid(0)})\n  MIG 3g.71gb     Device  0: (UUID: MIG-aa)\n  MIG 3g.71gb     Device  1: (UUID: MIG-bb)\n`,
    );
    expect(seen(host(2, {}, { ...tool, list }))).toEqual([
      ['cuda:0', 'MIG-aa'],
      ['cuda:1', 'MIG-bb'],
      ['cuda:2', uuid(1)],
    ]);
  });

  it('says no kind where CUDA may number devices in another order', () => {
    const mixed = smi(2, ['NVIDIA T4', 'NVIDIA H200']);
    const kinds = (env: AcceleratorHost['env']) => findAccelerators(host(2, env, mixed)).map((d) => d.kind);
    expect(kinds({})).toEqual(['NVIDIA T4', 'NVIDIA H200']);
    expect(kinds({ CUDA_VISIBLE_DEVICES: '0,1' })).toEqual([null, null]);
    expect(kinds({ CUDA_VISIBLE_DEVICES: '0,1', CUDA_DEVICE_ORDER: 'PCI_BUS_ID' })).toEqual([
      'NVIDIA T4',
      'NVIDIA H200',
    ]);
    expect(kinds({ CUDA_VISIBLE_DEVICES: uuid(1) })).toEqual(['NVIDIA H200']);
  });
});

describe('the engine for a host whose devices are hidden', () => {
  const hardware = {
    hasDevice: (p: string) => p === 'cuda' || p === 'cpu',
    hasPlugin: () => true,
    hides: (p: string) => (p === 'cuda' ? 'CUDA_VISIBLE_DEVICES is "", which hides every device' : null),
  };

  it('is that of the CPU, and says why', () => {
    expect(chooseAccelerator(hardware)).toEqual({
      platform: null,
      why: 'CUDA_VISIBLE_DEVICES is "", which hides every device',
    });
    expect(xlaPlatforms(hardware)).toEqual(['cpu']);
    expect(platformOf('auto', hardware)).toBeNull();
    expect(platformOf('xla', hardware)).toBe('cpu');
    expect(platformOf('auto', { ...hardware, hides: () => null })).toBe('cuda');
  });

  it('is refused where CUDA is asked for', () => {
    expect(messageOf(() => createEngine('xla:cuda', {}, hardware))).toBe(
      'CUDA_VISIBLE_DEVICES is "", which hides every device; name the devices to use there, or unset it, or choose another engine',
    );
  });
});

describe('an engine of one device', () => {
  const none = { hasDevice: () => false, hasPlugin: () => false };
  it.each(['auto', 'onnx', 'reference'] as const)('says that it leaves a mesh out: %s', async (name) => {
    for (const [data, said] of [
      [1, false],
      [2, true],
    ] as const) {
      const engine = createEngine(name, { mesh: { data, fsdp: 1 } }, none);
      const text = 'the mesh of 2 devices is left out, which only xla engines have';
      expect(engine.info.reason.includes(text)).toBe(said);
      await engine.dispose();
    }
  });
});

describe('an engine that shares no run with other processes', () => {
  const none = { hasDevice: () => false, hasPlugin: () => false };
  it.each(['auto', 'onnx', 'reference'] as const)('is not made for one of several nodes: %s', async (name) => {
    const nodes = (count: string) => ({ COORDINATOR: '127.0.0.1:1', NODES: count, NODE: '0' });
    const set = (values: object, remove = false) => {
      for (const [key, value] of Object.entries(values))
        if (remove) Reflect.deleteProperty(process.env, `LONGSIGHT_${key}`);
        else process.env[`LONGSIGHT_${key}`] = String(value);
    };
    try {
      set(nodes('2'));
      expect(messageOf(() => createEngine(name, {}, none))).toBe(
        `LONGSIGHT_COORDINATOR makes this process one of 2 that share a run, which the engine ${name === 'auto' ? 'onnx' : name} cannot do; ` +
          'unset it, or choose an accelerator (--engine xla)',
      );
      set(nodes('1'));
      await createEngine(name, {}, none).dispose();
    } finally {
      set(nodes('1'), true);
    }
  });
});
