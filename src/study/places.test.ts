import { describe, expect, it } from 'vitest';
import { messageOf } from '../../test/support/folders.js';
import type { Accelerator } from '../engine/index.js';
import { ON_HOST, Places, planCapacity, type AskedPlaces, type RunNeeds } from './places.js';

const MACHINE = { cores: 16, freeBytes: 100e9 };
const CUDA: RunNeeds = { platform: 'cuda', devices: 1 };
const runs = (count: number, needs = CUDA): RunNeeds[] => Array.from({ length: count }, () => needs);

function devices(count: number): Accelerator[] {
  return Array.from({ length: count }, (_, i) => ({
    ...{ platform: 'cuda', name: `cuda:${i}`, uuid: `GPU-${i}a-b`, kind: 'NVIDIA H200', memory: null },
    env: { CUDA_VISIBLE_DEVICES: `GPU-${i}a-b` },
  }));
}

const capacity = (needs: readonly RunNeeds[], asked: AskedPlaces, count: number) =>
  planCapacity(needs, asked, MACHINE, () => devices(count));

describe('planCapacity', () => {
  it.each([
    [1, {}, ['cuda:0'], 1],
    [2, {}, ['cuda:0', 'cuda:1'], 1],
    [8, {}, ['cuda:0', 'cuda:1', 'cuda:2', 'cuda:3', 'cuda:4', 'cuda:5', 'cuda:6', 'cuda:7'], 1],
    [8, { devices: '2' }, ['cuda:0', 'cuda:1'], 1],
    [8, { devices: '3,0' }, ['cuda:3', 'cuda:0'], 1],
    [8, { devices: 'cuda:5' }, ['cuda:5'], 1],
    [8, { devices: 'GPU-5a' }, ['cuda:5'], 1],
    [1, { perDevice: 2 }, ['cuda:0'], 2],
  ])('%i devices, asked %j: %j', (count, asked, names, perDevice) => {
    const found = capacity(runs(24), asked, count);
    expect(found.devices.map((d) => d.name)).toEqual(names);
    expect(found).toMatchObject({ perDevice, workers: 0, most: Infinity });
  });

  it('says what goes where', () => {
    expect(capacity(runs(8), {}, 1).reason).toBe('cuda:0 (NVIDIA H200): one run at a time on each');
    expect(capacity(runs(8), { perDevice: 2, workers: 1 }, 1).reason).toBe(
      'cuda:0 (NVIDIA H200): 2 runs at a time on each, which share its memory; at most 1 run at once, as asked',
    );
  });

  it('leaves a core to each process that feeds a device, and the rest to runs without one', () => {
    const mixed = capacity([...runs(8), ...runs(30, ON_HOST)], {}, 2);
    expect(mixed).toMatchObject({ workers: 14, threads: 1 });
    expect(mixed.reason).toContain('14 workers');
  });

  it('is that of the host where no run needs a device, and asks for none', () => {
    const find = () => {
      throw new Error('asked for devices');
    };
    // Flags of a command line come with others.
    const flags = { set: [], workers: undefined };
    expect(planCapacity(runs(3, ON_HOST), flags, { cores: 2, freeBytes: 16e9 }, find)).toMatchObject({
      ...{ workers: 2, threads: 1, devices: [] },
    });
  });

  it.each([
    [
      { devices: '3' },
      2,
      'devices 3 (--devices): here are cuda:0, cuda:1; give a number of devices up to that, or a list such as 0,1',
    ],
    [
      { devices: '0' },
      1,
      'devices 0 (--devices): here is cuda:0; give a number of devices up to that, or a list such as 0,1',
    ],
    [{ devices: '0,7' }, 2, 'devices 0,7 (--devices): "7" names no device; here are cuda:0, cuda:1'],
    [
      { devices: '0,cuda:0' },
      2,
      'devices 0,cuda:0 (--devices): cuda:0 is listed twice; runs share one by their number a device (--per-device)',
    ],
    [{ devices: ',' }, 1, 'devices , (--devices): name at least one device; here is cuda:0'],
    [
      { workers: 8 },
      1,
      'workers 8 (--workers): there is room for 1 run at once (1 device, 1 run on each); share devices (--per-device), or leave the number of workers out',
    ],
    [{}, 0, 'a run needs a cuda device, and none is here; choose another engine (--engine)'],
  ])('refuses %j on %i devices', (asked, count, message) => {
    expect(messageOf(() => capacity(runs(8), asked, count))).toBe(message);
  });

  it('refuses devices that nothing would use, and meshes that do not fit', () => {
    expect(messageOf(() => capacity(runs(2, ON_HOST), { devices: '1' }, 1))).toMatch(
      /^devices 1 \(--devices\): no run of this study computes on an accelerator here/,
    );
    expect(messageOf(() => capacity(runs(2, ON_HOST), { perDevice: 2 }, 1))).toMatch(
      /^2 a device \(--per-device\): no run/,
    );
    const mesh: RunNeeds = { platform: 'cuda', devices: 4 };
    expect(messageOf(() => capacity([mesh], {}, 2))).toBe(
      'a run has a mesh of 4 devices, and the study may use 2; make the mesh smaller or add devices',
    );
    expect(messageOf(() => capacity([mesh], { perDevice: 2 }, 4))).toMatch(/has a mesh of 4; leave it out$/);
  });
});

describe('Places', () => {
  const of = (count: number, change = {}) =>
    new Places({
      devices: devices(count),
      perDevice: 1,
      workers: 0,
      threads: 1,
      most: Infinity,
      reason: '',
      ...change,
    });

  it('gives each device to as many runs as share it, the least loaded first', () => {
    const places = of(2, { perDevice: 2 });
    const taken = Array.from({ length: 5 }, () => places.take(CUDA));
    expect(taken.map((p) => p?.name ?? null)).toEqual(['cuda:0', 'cuda:1', 'cuda:0', 'cuda:1', null]);
    expect(taken[0]?.env).toEqual({ CUDA_VISIBLE_DEVICES: 'GPU-0a-b' });
    expect(taken[0]?.memoryFraction).toBeCloseTo(0.425);
    if (taken[1]) places.giveBack(taken[1]);
    expect(places.take(CUDA)?.name).toBe('cuda:1');
  });

  it('keeps to the number of runs at once', () => {
    const places = of(2, { most: 1 });
    expect(places.take(CUDA)?.name).toBe('cuda:0');
    expect(places.take(CUDA)).toBeNull();
  });

  it('shows a run with a mesh all of its devices', () => {
    const places = of(3);
    const place = places.take({ platform: 'cuda', devices: 2 });
    expect(place).toMatchObject({ name: 'cuda:0+cuda:1', env: { CUDA_VISIBLE_DEVICES: 'GPU-0a-b,GPU-1a-b' } });
    expect(places.take({ platform: 'cuda', devices: 2 })).toBeNull();
    expect(places.refusal({ platform: 'cuda', devices: 2 })).toBeNull();
    if (place) places.setAside(place, 'it is busy');
    expect(places.refusal({ platform: 'cuda', devices: 2 })).toBe(
      'no device is left for it (cuda:0: it is busy; cuda:1: it is busy)',
    );
    expect(places.refusal(CUDA)).toBeNull();
  });
});
