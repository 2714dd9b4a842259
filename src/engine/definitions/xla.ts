/** `xla` and `xla:PLATFORM`: XLA through PJRT plugins. */
import { DTYPES } from '../../core/index.js';
import type { Engine } from '../contract/engine.js';
import { createXlaEngine } from '../xla/engine/engine.js';
import { requirePlugin, type Platform } from '../xla/pjrt/discover.js';
import type { EngineDefinition, EngineRequest } from './define.js';
import { chooseAccelerator, refuseHidden } from './hardware.js';

/** An xla engine on a platform. */
export function makeXla(
  platform: Platform,
  { mesh, deterministic, memoryFraction, hosts, reason }: Omit<EngineRequest, 'hardware'>,
): Engine {
  return createXlaEngine({
    platform,
    ...(mesh === undefined ? {} : { mesh }),
    ...(deterministic === undefined ? {} : { deterministic }),
    hosts,
    ...(memoryFraction === undefined ? {} : { clientOptions: { memory_fraction: { float: memoryFraction } } }),
    ...(reason === undefined ? {} : { reason }),
  });
}

/** What all of them share. */
const XLA = {
  dtypes: DTYPES,
  precision:
    'float32 is float32: products ask for the highest precision. `train.precision: bf16` computes products and activations in bfloat16 and keeps ' +
    'weights, norms, softmax, loss and optimizer in float32.',
} as const;

/** XLA on the accelerator that is there. */
export const xlaDefinition: EngineDefinition = {
  ...XLA,
  computes:
    'XLA, on the accelerator that is there, else on the CPU. A graph becomes StableHLO text, which a PJRT plugin compiles.',
  use: 'Accelerators, without naming one.',
  devices: 'As `xla:cuda` or `xla:tpu` where a device and its plugin are there, else as `xla:cpu`.',
  needs: 'A PJRT plugin ([where it is looked for](xla.md#plugins)).',
  limits: 'Those of the platform that it takes.',
  auto: 'Where an accelerator and its plugin are there: first CUDA, then TPU.',
  platform: (hardware) => chooseAccelerator(hardware).platform ?? 'cpu',
  check: (hardware) => void requirePlugin(chooseAccelerator(hardware).platform ?? 'cpu'),
  make: (request) => {
    const { platform, why } = chooseAccelerator(request.hardware);
    return makeXla(platform ?? 'cpu', { ...request, reason: `xla asked for: ${why}` });
  },
};

/** XLA on NVIDIA GPUs. */
export const cudaDefinition: EngineDefinition = {
  ...XLA,
  computes:
    'XLA on NVIDIA GPUs, with cuDNN and kernels of our own where they fit ([which](xla.md#what-is-computed-how)).',
  use: 'Training and measuring on GPUs, one or a mesh of several, on one host or several.',
  devices: 'NVIDIA GPUs that `CUDA_VISIBLE_DEVICES` leaves: the first, or those of the mesh.',
  needs: "A driver, and the plugin of Python's `jax-cuda13-pjrt` or `jax-cuda12-pjrt` with NVIDIA's libraries.",
  limits:
    'Two runs differ a little unless the run file says `deterministic: true`. The kernels take bf16 alone; what they do not take stays with XLA.',
  auto: 'Where a CUDA device and its plugin are there, and the environment does not hide the device.',
  platform: () => 'cuda',
  check: (hardware) => {
    refuseHidden('cuda', hardware);
    requirePlugin('cuda');
  },
  make: (request) => {
    refuseHidden('cuda', request.hardware);
    return makeXla('cuda', request);
  },
};

/** XLA on TPUs. */
export const tpuDefinition: EngineDefinition = {
  ...XLA,
  computes: 'XLA on TPUs.',
  use: 'Training and measuring on TPUs.',
  devices: 'The chips of a TPU host, which work as one: the first, or those of the mesh.',
  needs: "The plugin of Python's `libtpu`.",
  limits: 'No kernels of our own. No speed and no error has been measured on a TPU.',
  auto: 'Where a TPU and its plugin are there, and no CUDA device is.',
  platform: () => 'tpu',
  check: () => void requirePlugin('tpu'),
  make: (request) => makeXla('tpu', request),
};

/** XLA on CPUs. */
export const xlaCpuDefinition: EngineDefinition = {
  ...XLA,
  computes: 'XLA on the CPU.',
  use: 'Tests of what XLA is given, meshes of virtual devices included; `onnx` is the CPU engine for work.',
  devices: 'The CPU as one device, or as several virtual ones for a mesh.',
  needs:
    "The plugin that `node scripts/fetch-pjrt-cpu.mjs` puts into the cache folder, or that of Python's `lammps-jax-pjrt-cpu` or `cyxla-pjrt-cpu`.",
  limits: 'No kernels of our own.',
  auto: 'Never.',
  platform: () => 'cpu',
  check: () => void requirePlugin('cpu'),
  make: (request) => makeXla('cpu', request),
};
