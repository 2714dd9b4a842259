/** The text of `config.json`: Transformers checks the types of its fields, and JSON of JavaScript writes 5.0 as 5. */
import type { HfConfigJson } from './family/family.js';

/** Fields that Transformers takes only as floats in some class, and in none only as integers: 5 must read 5.0. */
const FLOAT_FIELDS: ReadonlySet<string> = new Set([
  ...['rms_norm_eps', 'layer_norm_eps', 'layer_norm_epsilon', 'norm_eps', 'norm_epsilon', 'mixer_rms_eps'],
  ...['rope_theta', 'partial_rotary_factor', 'factor', 'attention_factor', 'beta_fast', 'beta_slow'],
  ...['low_freq_factor', 'high_freq_factor', 'short_factor', 'long_factor', 'attn_scale'],
  ...['logit_scale', 'final_logit_softcapping', 'attn_logit_softcapping', 'logits_soft_cap', 'logits_scaling'],
  ...['logits_mup_width_multiplier', 'log_scaling_alpha'],
  ...['embedding_multiplier', 'attention_multiplier', 'residual_multiplier'],
  ...['time_step_limit', 'time_step_min', 'time_step_max', 'time_step_floor'],
  ...['key_multiplier', 'attention_in_multiplier', 'attention_out_multiplier', 'lm_head_multiplier'],
  ...['qk_dim_factor', 'v_dim_factor', 'ffn_proj_factor', 'gate_soft_cap', 'output_logit_soft_cap'],
  ...['mlp_multipliers', 'ssm_multipliers', 'ssm_in_multiplier', 'ssm_out_multiplier'],
  ...[
    'route_scale',
    'routed_scaling_factor',
    'moe_routed_scaling_factor',
    'router_aux_loss_coef',
    'swiglu_alpha',
    'swiglu_limit',
    'moe_router_logit_softcapping',
    'router_jitter_noise',
    'kda_lower_bound',
    'attention_value_scale',
  ],
]);

/** `config.json` as text, with a point in whole numbers where a class asks for floats. */
export function configText(json: HfConfigJson): string {
  const float = (value: unknown) => (Number.isInteger(value) ? `@float:${String(value)}` : value);
  const text = JSON.stringify(
    json,
    (key, value: unknown) => {
      if (!FLOAT_FIELDS.has(key)) return value;
      return Array.isArray(value) ? value.map(float) : float(value);
    },
    2,
  );
  // A number with an exponent, 1e+21, is a float as it is.
  return `${text.replace(/"@float:(-?\d+)"/g, '$1.0').replace(/"@float:([^"]+)"/g, '$1')}\n`;
}
