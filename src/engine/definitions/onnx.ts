/** `onnx`: onnxruntime on CPUs. */
import { checkOnnxruntime, createOnnxEngine } from '../onnx/engine.js';
import { meshLeftOut, refuseHosts, type EngineDefinition } from './define.js';

/** onnxruntime's CPU kernels. */
export const onnxDefinition: EngineDefinition = {
  computes: 'The CPU kernels of onnxruntime (`onnxruntime-node`). A graph becomes an ONNX model.',
  use: 'Laptops, CI, and studies of small models.',
  devices: 'The cores of the CPU: all of them unless `--threads N` says otherwise.',
  dtypes: ['f64', 'f32', 'i32', 'bool'],
  precision:
    'Models are float32. Weights of two bytes (bf16, f16) can be held as they are stored and are converted where they are used; it computes nothing else in them. ' +
    'Denormals count as zero.',
  needs: 'Nothing: `onnxruntime-node` comes with the package.',
  limits:
    'No bf16 (`train.precision: bf16` is refused), no mesh of several devices, no processes of several hosts, one step at a time.',
  auto: 'Where no accelerator can be used.',
  platform: () => null,
  check: checkOnnxruntime,
  make: ({ threads, mesh, hosts, reason = 'asked for' }) => {
    refuseHosts('onnx', hosts);
    return createOnnxEngine({ ...(threads === undefined ? {} : { threads }), reason: `${reason}${meshLeftOut(mesh)}` });
  },
};
