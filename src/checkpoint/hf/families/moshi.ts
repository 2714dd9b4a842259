/** Moshi: the text decoder of its class, which predicts text; the parts for audio are left out. */
import type { Family } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import type { ParameterLayout } from '../family/layout.js';
import { longestOf, readRope, ropeFields, writeRope } from '../family/rotary.js';
import { decoderLayout, LLAMA_NAMES, readActivation, readSizes, writeActivation, writeSizes } from './decoder.js';

const NAMES = { ...LLAMA_NAMES, fusedMlp: { input: 'mlp.fc1', output: 'mlp.fc2' } };

/** Projections of attention stand in a module of their own. */
const nested = (layout: ParameterLayout | null): ParameterLayout | null =>
  layout && {
    ...layout,
    sources: layout.sources.map((source) => ({
      ...source,
      tensor: source.tensor.replace(/(self_attn\.[qkvo]_proj)\./, '$1.linear.'),
    })),
  };

/** Refuses parts for audio with which the class makes no model; others are left out. */
function refuseAudio(fields: Fields): void {
  const [encoder, decoder] = [fields.object('audio_encoder_config'), fields.object('depth_decoder_config')];
  const size = fields.has('audio_vocab_size') ? fields.count('audio_vocab_size') : null;
  if (encoder === null && decoder !== null && size === null)
    fields.refuse(
      'depth_decoder_config with neither audio_encoder_config nor audio_vocab_size, which its class refuses',
    );
}

/** Moshi's text decoder. */
export const moshi: Family = {
  modelTypes: ['moshi'],
  architecture: 'MoshiForCausalLM',
  fields: {
    vocab_size: 32_000,
    hidden_size: 4096,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: optional(),
    audio_vocab_size: optional(),
    max_position_embeddings: 3000,
    rope_parameters: optional(),
    hidden_act: 'silu',
    head_dim: optional(),
    sliding_window: 3000,
    ffn_dim: 22_528,
    rms_norm_eps: 1e-8,
    num_codebooks: 8,
    tie_word_embeddings: false,
    audio_encoder_config: optional(),
    depth_decoder_config: optional(),
  },
  read: (fields) => {
    const width = fields.count('ffn_dim');
    if (width % 2 !== 0) fields.refuse('an odd ffn_dim, which its class refuses');
    const sizes = readSizes(fields, undefined, Math.max(1, Math.floor(width / 2)));
    if (sizes.hiddenSize % sizes.numHeads !== 0)
      fields.refuse('a hidden_size that is no multiple of num_attention_heads, which its class refuses');
    // The text decoder attends to every earlier token, and has no audio.
    fields.unheeded('num_codebooks');
    refuseAudio(fields);
    const kept = fields.count('sliding_window');
    if (kept < fields.count('max_position_embeddings')) {
      fields.note(
        `every token sees all before it; with a cache Transformers keeps those of the last ${kept} (sliding_window), and gives others`,
      );
    }
    return {
      ...sizes,
      ...ropeFields(readRope(fields), sizes.headDim),
      // The embedding has a row for a token that begins texts, which the head does not name; it is never tied.
      extraTokens: 1,
      tieEmbeddings: false,
      layers: `${fields.count('num_hidden_layers')}*full`,
      activation: readActivation(fields),
    };
  },
  layout: (config, layer, name) => nested(decoderLayout(config, layer, name, NAMES)),
  ignored: (name) => /^(depth_decoder|audio_encoder|embed_tokens)\./.test(name),
  write: (config) => {
    const { intermediate_size: _, ...sizes } = writeSizes(config);
    return {
      ...sizes,
      ffn_dim: 2 * config.intermediateSize,
      hidden_act: writeActivation(config.activation),
      max_position_embeddings: longestOf(config),
      // With a cache the class keeps the keys of so many tokens.
      sliding_window: longestOf(config),
      rope_parameters: writeRope(config, { theta: config.ropeTheta, scaling: config.ropeScaling }),
    };
  },
};
