/** Lines about experts in descriptions of models. */
import { formatCount } from '../../core/index.js';
import { blockOf, expertsOf, type ModelConfig, type ModelCost } from '../../model/index.js';

/** Which experts a model has; no line for a model without. */
export function describeExperts(config: ModelConfig): [string, string][] {
  const { experts, numLayers } = config;
  if (experts === null) return [];
  const { count, perToken, intermediateSize, sharedSize } = experts;
  const layers = Array.from({ length: numLayers }, (_, i) => i).filter((i) => blockOf(config, i).mlp);
  const routed = layers.filter((i) => expertsOf(config, i) !== null).length;
  const shared = sharedSize === null ? '' : `, and a shared one of width ${sharedSize}`;
  const where = routed === layers.length ? '' : `, in ${routed} of ${layers.length} MLPs`;
  return [['experts', `${perToken} of ${count} a token, width ${intermediateSize}${shared}${where}`]];
}

/** The parameters that one token passes; no line for a model without experts. */
export function describeActive({ experts }: ModelConfig, { parameters }: ModelCost): [string, string][] {
  return experts === null ? [] : [['  of these, passed by each token', formatCount(parameters.active)]];
}
