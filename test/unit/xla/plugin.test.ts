import { mkdtempSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chooseAccelerator, createXlaEngine, findPlugin } from '../../../src/engine/index.js';
import { ProgramCache, cacheName } from '../../../src/engine/xla/pjrt/cache.js';
import { requirePlugin } from '../../../src/engine/xla/pjrt/discover.js';
import { addXlaFlags } from '../../../src/engine/xla/pjrt/load.js';
import { compileOptions } from '../../../src/engine/xla/pjrt/proto.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

const folder = (): string => mkdtempSync(join(tmpdir(), 'longsight-xla-'));

describe('plugin discovery', () => {
  it('takes the path given, then the environment, then the packages of python3, then the cache', () => {
    const home = folder();
    const put = (...parts: string[]): string => {
      const path = join(home, ...parts);
      mkdirSync(join(path, '..'), { recursive: true });
      writeFileSync(path, '');
      return path;
    };
    const own = put('own_cpu.so');
    const packaged = put('site-packages', 'lammps_jax_pjrt_cpu', 'pjrt_c_api_cpu_plugin.so');
    const cached = put('cache', 'pjrt', 'lammps_jax_pjrt_cpu', 'pjrt_c_api_cpu_plugin.so');
    const around = (env: Record<string, string>, packages: string[]) => ({
      env: { LONGSIGHT_CACHE: join(home, 'cache'), ...env },
      sitePackages: () => packages,
    });
    const site = [join(home, 'site-packages')];
    expect(findPlugin('cpu', { path: own }, around({}, site)).plugin?.path).toBe(own);
    expect(findPlugin('cpu', {}, around({ LONGSIGHT_PJRT_PLUGIN: own }, site)).plugin?.reason).toBe(
      'LONGSIGHT_PJRT_PLUGIN',
    );
    expect(findPlugin('cpu', {}, around({}, site)).plugin?.path).toBe(packaged);
    expect(findPlugin('cpu', {}, around({}, [])).plugin?.path).toBe(cached);
    expect(findPlugin('tpu', {}, around({ LONGSIGHT_PJRT_PLUGIN: own }, [])).plugin).toBeNull();
  });

  it('says what to install, and that a path is wrong', () => {
    const none = { env: { LONGSIGHT_CACHE: folder() }, sitePackages: () => [] };
    expect(() => requirePlugin('tpu', {}, none)).toThrow(
      /no PJRT plugin for tpu .*pip install libtpu.*LONGSIGHT_PJRT_PLUGIN/,
    );
    expect(() => requirePlugin('cpu', { path: '/nowhere/x.so' }, none)).toThrow(/there is no file \/nowhere\/x.so/);
  });

  it('says that a file is no plugin', () => {
    const path = join(folder(), 'not-a-plugin.so');
    writeFileSync(path, 'text');
    expect(() => createXlaEngine({ plugin: path })).toThrow(/cannot load the plugin .*not-a-plugin.so/);
  });

  it('prefers an accelerator only with device and plugin', () => {
    const host = (devices: string[], plugins: string[]) => ({
      hasDevice: (p: string) => devices.includes(p),
      hasPlugin: (p: string) => plugins.includes(p),
    });
    expect(chooseAccelerator(host(['cuda'], ['cuda'])).platform).toBe('cuda');
    expect(chooseAccelerator(host(['cuda'], []))).toMatchObject({
      platform: null,
      why: expect.stringMatching(/no PJRT plugin/) as string,
    });
    expect(chooseAccelerator(host([], ['cuda'])).platform).toBeNull();
  });
});

describe('flags and compile options', () => {
  it('adds flags to those of the user, which win', () => {
    const env: NodeJS.ProcessEnv = { XLA_FLAGS: '--a=1' };
    expect(addXlaFlags(['--a=2', '--b=3', '--b=4'], env)).toBe('--a=1 --b=3');
    expect(env['XLA_FLAGS']).toBe('--a=1 --b=3');
    expect(() => addXlaFlags(['a=1'], {})).toThrow(/does not begin with --/);
  });

  it('writes the protobuf', () => {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    expect(hex(compileOptions([0]))).toBe('1a0f200128014a09080110011a030a0100');
    expect(hex(compileOptions([0, 1]))).toBe('1a192001280230014a0e080110021a030a01001a030a0101980101');
    expect(hex(compileOptions([0], { x: false }))).toContain('3a070a017812021000');
  });
});

describe('the cache of compiled programs', () => {
  const key = { program: 'p', options: new Uint8Array([1]), plugin: 'v', device: 'd', flags: '' };

  it('tells apart everything that a program depends on', () => {
    const names = [
      key,
      { ...key, program: 'q' },
      { ...key, plugin: 'w' },
      { ...key, device: 'e' },
      { ...key, flags: 'f' },
      { ...key, program: 'pv', plugin: '' },
    ].map(cacheName);
    expect(new Set(names).size).toBe(names.length);
  });

  it('drops a damaged entry and says so', () => {
    const said: string[] = [];
    const cache = new ProgramCache(folder(), (m) => said.push(m));
    cache.write('x', new Uint8Array([1, 2, 3]));
    expect(Array.from(cache.read('x') ?? [])).toEqual([1, 2, 3]);
    const bytes = readFileSync(cache.path('x'));
    bytes[bytes.length - 1] = 9;
    writeFileSync(cache.path('x'), bytes);
    expect(cache.read('x')).toBeNull();
    expect(said.join()).toMatch(/is damaged.*compiling anew/);
    expect(cache.read('x')).toBeNull();
    expect(said).toHaveLength(1);
  });
});

/** Names of the entries of a cache folder. */
const readdirNames = (path: string): string[] => readdirSync(path).map((file) => file.replace(/\.xla$/, ''));

const { plugin } = findPlugin('cpu');

describe.skipIf(!plugin)('the engine on the CPU plugin', () => {
  const graph = (): L.Graph => {
    const x = L.input('x', 'f32', [3]);
    return L.makeGraph({ x }, { y: L.mul(x, 2) });
  };

  it('compiles once for two starts, and anew where the entry does not load', async () => {
    const cache = folder();
    const said: string[] = [];
    const start = async (): Promise<{ cached: boolean; result: number[] }> => {
      const engine = createXlaEngine({ plugin: plugin?.path, cache, say: (m) => said.push(m) });
      const program = await engine.compile(graph());
      const { y } = await program.run({ x: engine.upload(randomTensor('f32', [3], 'x', () => 4)) });
      const result = Array.from((await engine.download(y as never)).data);
      const cached = engine.lastCompile?.cached ?? false;
      await engine.dispose();
      return { cached, result };
    };
    expect(await start()).toEqual({ cached: false, result: [8, 8, 8] });
    expect(await start()).toEqual({ cached: true, result: [8, 8, 8] });
    const store = new ProgramCache(cache, () => {});
    for (const name of readdirNames(cache)) store.write(name, new Uint8Array([1, 2, 3]));
    expect(await start()).toEqual({ cached: false, result: [8, 8, 8] });
    expect(said.join()).toMatch(/cannot be used.*compiling anew/);
  });

  it('frees tensors that nobody holds, and refuses freed ones', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    const x = engine.upload(randomTensor('f32', [3], 'x'));
    engine.release(x);
    await expect(engine.download(x)).rejects.toThrow(/released/);
    const kept = engine.upload(randomTensor('f32', [3], 'x'));
    await engine.dispose();
    await expect(engine.download(kept)).rejects.toThrow(/released, or its engine disposed of/);
  });

  it('says that a plugin has no profiler', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    expect(() => engine.profile()).toThrow(/has no profiler; use one that has/);
    await engine.dispose();
  });

  it('refuses a donated tensor as a second input', async () => {
    const engine = createXlaEngine({ plugin: plugin?.path, cache: null });
    const [a, b] = [L.input('a', 'f32', [2]), L.input('b', 'f32', [2])];
    const program = await engine.compile(L.makeGraph({ a, b }, { c: L.add(a, b) }), { donate: { a: 'c' } });
    const x = engine.upload(randomTensor('f32', [2], 'x'));
    await expect(program.run({ a: x, b: x })).rejects.toThrow(/"a" and "b" are one tensor, which is donated/);
    await engine.dispose();
  });
});
