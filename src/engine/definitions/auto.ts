/** `auto`: the accelerator where it can be used, else the CPU engine. */
import { DTYPES } from '../../core/index.js';
import type { EngineDefinition } from './define.js';
import { chooseAccelerator } from './hardware.js';
import { onnxDefinition } from './onnx.js';
import { makeXla } from './xla.js';
import { requirePlugin } from '../xla/pjrt/discover.js';

/** The choice that is made where nobody makes one. */
export const autoDefinition: EngineDefinition = {
  computes: 'The engine that fits this machine: `xla` where an accelerator and its plugin are there, else `onnx`.',
  use: 'Everything; it is the default. It prints what it took and why, and `config.json` keeps both.',
  devices: 'Those of the engine that it takes.',
  dtypes: DTYPES,
  precision: 'The engine that it takes may compute in fewer.',
  needs: 'Nothing.',
  limits: 'Those of the engine that it takes. Files on disk tell it what is there: it starts no device to find out.',
  auto: 'It is what chooses.',
  platform: (hardware) => chooseAccelerator(hardware).platform,
  check: (hardware) => {
    const { platform } = chooseAccelerator(hardware);
    if (platform === null) onnxDefinition.check(hardware);
    else requirePlugin(platform);
  },
  make: (request) => {
    const { platform, why } = chooseAccelerator(request.hardware);
    return platform === null
      ? onnxDefinition.make({ ...request, reason: `auto: the CPU engine that comes with the package; ${why}` })
      : makeXla(platform, { ...request, reason: `auto: ${why}` });
  },
};
