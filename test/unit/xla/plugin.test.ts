import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chooseAccelerator, createXlaEngine, findPlugin } from '../../../src/engine/index.js';
import { ProgramCache, cacheName } from '../../../src/engine/xla/pjrt/cache.js';
import { requirePlugin } from '../../../src/engine/xla/pjrt/discover.js';
import { addXlaFlags, cudaFolderFlag, loadPlugin } from '../../../src/engine/xla/pjrt/load.js';
import { compileOptions } from '../../../src/engine/xla/pjrt/proto.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

const folder = (): string => mkdtempSync(join(tmpdir(), 'longsight-xla-'));

describe('plugin discovery', () => {
  it("takes the path given, then the environment, then Python's packages, then the cache", () => {
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

  it('loads no plugin, and no library of it, that others could have written', () => {
    const at = folder();
    const path = join(at, 'x_cpu.so');
    writeFileSync(path, 'text');
    chmodSync(path, 0o666);
    expect(() => createXlaEngine({ plugin: path })).toThrow(
      `xla: ${path} is not loaded: every user may write ${path}; if you trust what is there, run "chmod go-w ${path}"`,
    );
    chmodSync(path, 0o644);
    const library = join(at, 'nvidia', 'libx.so');
    mkdirSync(join(at, 'nvidia'));
    writeFileSync(library, 'text');
    chmodSync(library, 0o666);
    const plugin = { platform: 'cuda', path, reason: '', libraries: [join(at, 'nvidia')] } as const;
    expect(() => loadPlugin(plugin)).toThrow(`xla: ${library} is not loaded: every user may write ${library}`);
  });

  it('keeps XLA from running compilers of the current folder', () => {
    // XLA's default for this flag is "./cuda_sdk_lib".
    expect(cudaFolderFlag({ platform: 'cuda', path: '/p/jax_plugins/x.so' })).toEqual([
      '--xla_gpu_cuda_data_dir=/p/jax_plugins',
    ]);
    expect(cudaFolderFlag({ platform: 'cpu', path: '/p/x.so' })).toEqual([]);
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

  function opened(path = join(folder(), 'xla')): { cache: ProgramCache; said: string[] } {
    const said: string[] = [];
    const cache = ProgramCache.open(path, (m) => said.push(m));
    if (cache === null) throw new Error(said.join());
    return { cache, said };
  }
  const CONTENT = new Uint8Array([1, 2, 3]);

  it('drops an entry that was damaged, moved to another name or written elsewhere, and says so once', () => {
    const { cache, said } = opened();
    const damage: readonly (() => void)[] = [
      () => {
        const bytes = readFileSync(cache.path('x'));
        bytes[bytes.length - 1] = 9;
        writeFileSync(cache.path('x'), bytes);
      },
      () => {
        cache.write('y', CONTENT);
        renameSync(cache.path('y'), cache.path('x'));
      },
      () => {
        const elsewhere = opened().cache;
        elsewhere.write('x', CONTENT);
        copyFileSync(elsewhere.path('x'), cache.path('x'));
      },
      () => truncateSync(cache.path('x'), 20),
    ];
    for (const [i, spoil] of damage.entries()) {
      cache.write('x', CONTENT);
      expect(Array.from(cache.read('x') ?? [])).toEqual([1, 2, 3]);
      spoil();
      expect(cache.read('x')).toBeNull();
      expect(said[i]).toMatch(/x\.xla cannot be used \(it is damaged, or was not written here .*compiling anew$/);
      expect(cache.read('x')).toBeNull();
      expect(said).toHaveLength(i + 1);
    }
  });

  it("is the user's alone, and keeps its entries for the next start", () => {
    const path = folder();
    chmodSync(path, 0o755);
    opened(path).cache.write('x', CONTENT);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(statSync(join(path, 'secret')).mode & 0o777).toBe(0o600);
    const next = opened(path);
    expect(Array.from(next.cache.read('x') ?? [])).toEqual([1, 2, 3]);
    chmodSync(join(path, 'secret'), 0o644); // others may have read it: entries of before are not believed
    const after = opened(path);
    expect(after.cache.read('x')).toBeNull();
    expect(after.said).toHaveLength(1);
  });

  it('is not used where others may write, or nothing can be written', () => {
    const said: string[] = [];
    const path = folder();
    chmodSync(path, 0o777);
    expect(ProgramCache.open(path, (m) => said.push(m))).toBeNull();
    expect(said.pop()).toBe(
      `the cache of compiled programs ${path} is not used: every user may write ${path}; if you trust what is there, ` +
        `run "chmod go-w ${path}"`,
    );
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    expect(ProgramCache.open(join(file, 'xla'), (m) => said.push(m))).toBeNull();
    expect(said).toEqual([expect.stringMatching(/^compiled programs are not kept: cannot use .*file\/xla: /)]);
  });
});

/** Names of the entries of a cache folder. */
const readdirNames = (path: string): string[] =>
  readdirSync(path)
    .filter((file) => file.endsWith('.xla'))
    .map((file) => file.slice(0, -'.xla'.length));

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
    const store = ProgramCache.open(cache, () => {});
    for (const name of readdirNames(cache)) store?.write(name, new Uint8Array([1, 2, 3]));
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
