/** `reference`: plain loops in float64. */
import { DTYPES } from '../../core/index.js';
import { createReferenceEngine } from '../reference/engine.js';
import { meshLeftOut, refuseHosts, type EngineDefinition } from './define.js';

/** Plain float64 loops. */
export const referenceDefinition: EngineDefinition = {
  computes: 'Plain loops in TypeScript, one for each op.',
  use: 'Being right: every test of another engine compares with it.',
  devices: 'One core of the CPU.',
  dtypes: DTYPES,
  precision: 'Everything is computed in float64 and rounded to the dtype of the graph at its outputs only.',
  needs: 'Nothing.',
  limits:
    'Thousands of times slower than the others. No mesh of several devices, no processes of several hosts, one step at a time.',
  auto: 'Never.',
  platform: () => null,
  check: () => undefined,
  make: ({ mesh, hosts }) => {
    refuseHosts('reference', hosts);
    return createReferenceEngine(`asked for${meshLeftOut(mesh)}`);
  },
};
