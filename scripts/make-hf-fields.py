"""What Transformers makes of every field of config.json: for each class, each of its fields (and those that shared code looks for)
with a few values, one at a time, on a tiny model of test/data/hf.

    pip install torch transformers safetensors
    python scripts/make-hf-fields.py test/data/hf test/data/hf-fields [TYPE ...]

OUT/TYPE.json: `folder`, the fields of the class with their defaults (`class`; those that may be null are
`nullable`) and what the class makes of an empty config.json
(`resolved`), `places` (position and token of the logits that are kept), `base` (these logits), and `cases`: field, value and what came of it:
"same" (every logit within 1e-6 of the largest), "raises" (no model, or one whose tensors the folder does not hold), or the logits that it
has then; "*" for a field means several at once. "@missing" as a value takes the field out. First sample of input_ids, eager attention, float32.
"""
import copy
import dataclasses
import json
import logging
import os
import sys
import tempfile
import warnings

import torch
import transformers as tf
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
tf.logging.set_verbosity(logging.CRITICAL)

FOLDERS = dict(falcon_h1="falcon-h1", mamba="mamba-biases", falcon_mamba="falcon-mamba", jamba="jamba", nemotron_h="nemotron-h-biases",
               llama="llama-linear", mistral="mistral-window", qwen2="qwen2", qwen3="qwen3-bias-windows", smollm3="smollm3-tied-bias",
               granite="granite", gemma3_text="gemma3", cohere2="cohere2", exaone4="exaone4-windows", olmo3="olmo3-yarn",
               qwen3_next="qwen3-next", olmo_hybrid="olmo-hybrid", mamba2="mamba2-groups", bamba="bamba-groups",
               granitemoehybrid="granite-hybrid", minimax="minimax", arcee="arcee-biases", ministral="ministral", ministral3="ministral3-scaled",
               cwm="cwm", seed_oss="seed-oss-biases", phi3="phi3-window", olmo2="olmo2", granite_swa="granite-swa",
               qwen3_5_text="qwen3-5", lfm2="lfm2", lfm3="lfm3", mellum="mellum", flint="flint", starcoder2="starcoder2", nanochat="nanochat", apertus="apertus",
               deepseek_v3="deepseek-v3-experts", deepseek_v2="deepseek-v2-groups", kimi_linear="kimi-linear-experts",
               gemma2="gemma2", vaultgemma="vaultgemma", recurrent_gemma="recurrent-gemma", bailing_hybrid="bailing-hybrid", zamba2="zamba2", zamba="zamba", mixtral="mixtral", qwen3_moe="qwen3-moe", qwen2_moe="qwen2-moe",
               qwen3_5_moe_text="qwen3-5-moe", gpt_oss="gpt-oss", lfm2_moe="lfm2-moe", afmoe="afmoe", lara_mini="lara-mini", olmoe="olmoe", granitemoe_swa="granitemoe-swa", llama4_text="llama4-experts", gpt_neo="gpt-neo", cohere_compass_text="cohere-compass", beam="beam", zaya="zaya", laguna="laguna", kolibri1="kolibri1", dots1="dots1", exaone_moe="exaone-moe", cohere2_moe="cohere2-moe", phimoe="phimoe", moshi="moshi", mimo_v2_flash="mimo-v2-flash", gemma4_text="gemma4-experts", gemma4_unified_text="gemma4-unified")
FOLDERS["xlstm"] = "xlstm"
FOLDERS["inkling_text"] = "inkling"
FOLDERS["phi4_multimodal"] = "phi4-multimodal"
FOLDERS["modernbert-decoder"] = "modernbert-decoder"
MISSING = "@missing"
# Types whose own name stands for no class alone.
TEXT_CONFIGS = dict(gemma3_text="Gemma3TextConfig", gemma4_text="Gemma4TextConfig", gemma4_unified_text="Gemma4UnifiedTextConfig")
# Fields that are not of the class, but that Transformers, or an older version of it, looks for in some class.
SHARED = ("is_causal is_decoder add_cross_attention per_layer_config tie_word_embeddings rope_parameters rope_theta rope_scaling "
          "rope_local_base_freq partial_rotary_factor original_max_position_embeddings layer_types layers_block_type sliding_window "
          "use_sliding_window max_window_layers sliding_window_pattern _sliding_window_pattern attention_chunk_size "
          "use_bidirectional_attention head_dim num_key_value_heads attention_bias mlp_bias qkv_bias attn_logit_softcapping "
          "final_logit_softcapping query_pre_attn_scalar logit_scale full_attention_interval num_local_experts "
          "transformers_version tie_last_hidden_states no_rope_layers embedding_multiplier attention_multiplier num_experts "
          "quantization_config tie_embedding block_ff_dim").split()
KINDS = ["full_attention", "sliding_attention", "linear_attention", "attention", "mamba", "chunked_attention"]


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}
# Several fields at once; in `cases` the field is "*" and the value has them by name.
TOGETHER = [
    dict(layer_types=MISSING), dict(layer_types=MISSING, sliding_window=MISSING), dict(layer_types=MISSING, sliding_window=None),
    dict(layer_types=MISSING, sliding_window_pattern=2), dict(layer_types=MISSING, sliding_window_pattern=None),
    dict(layer_types=MISSING, _sliding_window_pattern=2), dict(layer_types=MISSING, full_attention_interval=1),
    dict(layer_types=MISSING, full_attention_interval=2), dict(layer_types=MISSING, use_sliding_window=False),
    dict(layer_types=MISSING, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    dict(layer_types=MISSING, no_rope_layers=MISSING), dict(no_rope_layers=MISSING, no_rope_layer_interval=2),
    dict(layer_types=MISSING, layers_block_type=["linear_attention", "full_attention"]),
    dict(layer_types=MISSING, layers_block_type=["mamba", "attention"]),
    dict(layer_types=MISSING, full_attn_idxs=[1]), dict(layer_types=MISSING, full_attn_idxs=[]),
    dict(block_auto_adjust_ff_dim=False, intermediate_size=40), dict(block_ff_dim=44, intermediate_size=40),
    dict(layer_types=["mamba", "attention"], layers_block_type=["linear_attention", "full_attention"]),
    dict(attn_layer_indices=MISSING, layers_block_type=["attention", "mamba"]),
    dict(rope_parameters=MISSING, rope_theta=500.0), dict(rope_parameters=MISSING, rope_theta=None),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling=None),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"type": "linear", "factor": 4.0}),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling=YARN),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"rope_type": "yarn", "factor": 4.0}, max_position_embeddings=8),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"rope_type": "yarn"}),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"rope_type": "dynamic", "factor": 4.0}, max_position_embeddings=8),
    dict(rope_parameters=MISSING, rope_scaling=YARN, original_max_position_embeddings=16),
    dict(rope_parameters=dict(YARN, rope_theta=500.0), original_max_position_embeddings=16),
    dict(rope_parameters=dict(YARN, rope_theta=500.0, beta_fast=None, truncate=None, attention_factor=None)),
    dict(rope_parameters=dict(YARN, rope_theta=500.0, beta_fast=8, beta_slow=2.0, truncate=False, attention_factor=1.5)),
    dict(rope_parameters=dict(YARN, rope_theta=500.0, mscale=0.7, mscale_all_dim=1.3)),
    dict(rope_parameters=dict(YARN, rope_theta=500.0, factor=None), max_position_embeddings=16),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_local_base_freq=50.0),
    dict(rope_parameters=MISSING, rope_theta=500.0, partial_rotary_factor=0.5),
    dict(rope_parameters={"rope_type": "default", "rope_theta": 500.0}, partial_rotary_factor=0.5),
    dict(rope_parameters={"rope_type": "default", "rope_theta": 500.0}, rope_theta=100.0),
    dict(rope_parameters={"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default"}},
         rope_theta=500.0),
    dict(rope_parameters={"full_attention": dict(YARN, truncate=False), "sliding_attention": {"rope_type": "default"}}),
    dict(rope_parameters={"full_attention": YARN, "sliding_attention": {"rope_type": "default"}, "truncate": False},
         original_max_position_embeddings=16),
]
LISTS = dict(full_attn_layers=[2], kda_layers=[1, 3])
DEEPSEEK = [
    dict(rope_parameters=dict(YARN, rope_theta=500.0, mscale=1.0, mscale_all_dim=0)), dict(num_nextn_predict_layers=3),
    dict(rope_parameters=dict(YARN, rope_theta=500.0, mscale_all_dim=0.7)), dict(qk_head_dim=7), dict(head_dim=4),
    dict(rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0, "mscale_all_dim": 0.7}),
    dict(rope_parameters={"rope_type": "default", "rope_theta": 500.0, "factor": 4.0, "mscale_all_dim": 0.7}),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling=dict(YARN, mscale=0.7, mscale_all_dim=0.7, beta_fast=32, beta_slow=1)),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8,
                                                                  "mscale": 0.7, "mscale_all_dim": 0.9}),
]
# The same for the fields of one class.
LONG = dict(rope_type="longrope", rope_theta=500.0, short_factor=[1.0, 1.3, 1.5, 2.0], long_factor=[1.5, 4.0, 5.0, 6.0])
SCALED = dict(LONG, original_max_position_embeddings=8)
OF_KIND = dict(gpt_neo=[
    dict(attention_layers=MISSING), dict(attention_layers=["local", "local"]), dict(attention_layers=["global"]), dict(attention_layers=None),
    dict(attention_layers=MISSING, attention_types=[[["local"], 2]]), dict(attention_types=[[["local"], 2]]), dict(attention_types=[[["local"], 1]]),
    dict(attention_layers=MISSING, attention_types=None), dict(attention_layers=MISSING, attention_types=[[["other"], 2]]),
    dict(num_layers=MISSING, num_hidden_layers=2), dict(num_heads=MISSING, num_attention_heads=2),
], phi3=[
    dict(rope_parameters=LONG), dict(rope_parameters=LONG, original_max_position_embeddings=8),
    dict(rope_parameters=LONG, original_max_position_embeddings=8, max_position_embeddings=64),
    dict(rope_parameters=dict(LONG, original_max_position_embeddings=8)), dict(rope_parameters=dict(LONG, factor=4.0), original_max_position_embeddings=8),
    dict(rope_parameters=dict(LONG, attention_factor=1.5), original_max_position_embeddings=8),
    dict(rope_parameters=dict(LONG, factor=0.5), original_max_position_embeddings=30),
    dict(rope_parameters=MISSING, rope_scaling=dict(LONG, type="su"), original_max_position_embeddings=8),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={k: LONG[k] if k != "type" else "su" for k in ("short_factor", "long_factor")} | {"type": "su"},
         original_max_position_embeddings=8, max_position_embeddings=32),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={k: LONG[k] for k in ("short_factor", "long_factor")} | {"type": "longrope"},
         original_max_position_embeddings=MISSING, max_position_embeddings=32),
    dict(rope_parameters=dict(LONG, partial_rotary_factor=0.5, short_factor=[1.0, 2.0], long_factor=[3.0, 4.0]), original_max_position_embeddings=8),
    dict(rope_parameters=dict(LONG, short_factor=[1.0, 2.0]), original_max_position_embeddings=8),
], deepseek_v3=DEEPSEEK, deepseek_v2=DEEPSEEK, kimi_linear=[
    dict(layer_types=MISSING, linear_attn_config=LISTS), dict(layer_types=MISSING, linear_attn_config=dict(LISTS, head_dim=8, num_heads=3)),
    dict(layer_types=MISSING, linear_attn_config=dict(LISTS, kda_layers=[1])), dict(linear_attn_config=dict(full_attn_layers=[1], kda_layers=[2, 3])),
    dict(layer_types=MISSING, linear_attn_config=dict(full_attn_layers=[2], kda_layers=[0, 1])), dict(linear_attn_config=dict(head_dim=4)),
    dict(linear_attn_config=dict(short_conv_kernel_size=3)), dict(linear_attn_config=None), dict(linear_attn_config={}),
    dict(linear_head_dim=4, linear_attn_config=dict(head_dim=8)), dict(layer_types=MISSING, linear_attn_config=dict(full_attn_layers=[2])),
    dict(mlp_layer_types=MISSING, first_k_dense_replace=3), dict(mlp_layer_types=MISSING, first_k_dense_replace=2), dict(mlp_layer_types=MISSING),
    dict(first_k_dense_replace=0), dict(model_max_length=99), dict(num_experts=9), dict(mla_use_nope=False), dict(qk_head_dim=7),
], llama4_text=[dict(moe_layers=None), dict(moe_layers=MISSING), dict(moe_layers=MISSING, interleave_moe_layer_step=2), dict(moe_layers=[1, 2, 5])], laguna=[
    dict(layer_types=MISSING, mlp_layer_types=MISSING), dict(mlp_layer_types=MISSING), dict(num_attention_heads_per_layer=MISSING),
    dict(rope_parameters=MISSING, layer_types=["full_attention"] * 3), dict(rope_parameters={
        "full_attention": dict(YARN, rope_theta=500.0, partial_rotary_factor=0.75), "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}),
    dict(rope_parameters={"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}, "sliding_attention": {
        "rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.25}}),
    dict(rope_parameters={"full_attention": {"rope_theta": 500.0}, "sliding_attention": {"rope_theta": 50.0}}, partial_rotary_factor=0.5),
], phimoe=[
    dict(rope_parameters=dict(SCALED, long_mscale=m, short_mscale=k)) for m, k in ((1.2, 1.2), (1.5, 1.2), (None, 1.2), (1, 1))] + [
    dict(rope_parameters=dict(SCALED, long_mscale=1.2, short_mscale=1.2, original_max_position_embeddings=30)), dict(rope_parameters=SCALED),
    dict(rope_parameters=dict(SCALED, long_mscale=1.2, short_mscale=1.2, attention_factor=2.0, factor=8.0)),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling=dict(SCALED, long_mscale=1.2, short_mscale=1.2)),
    dict(rope_parameters=dict(YARN, rope_theta=500.0, long_mscale=1.2, short_mscale=1.2)),
    dict(rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0, "long_mscale": 1.2, "short_mscale": 1.2}),
], zaya=[
    dict(rope_parameters={k: {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": p} for k, p in (("hybrid", a), ("hybrid_sliding", b))})
    for a, b in ((0.5, 0.25), (1.0, 0.5), (0.25, 1.0))
] + [
    dict(rope_parameters={"hybrid": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}, "hybrid_sliding": {
        "rope_type": "default", "rope_theta": 50.0}}),
], gemma4_text=[
    dict(layer_types=MISSING), dict(per_layer_config=MISSING, global_head_dim=16), dict(per_layer_config=MISSING), dict(per_layer_config=MISSING, head_dim=16,
        global_head_dim=8), dict(per_layer_config=MISSING, global_head_dim=16, num_global_key_value_heads=1), dict(global_head_dim=8), dict(attention_k_eq_v=True),
    dict(per_layer_config={"1": {"head_dim": 16}, "3": {"head_dim": 16}}), dict(per_layer_config={"1": {"head_dim": 16}}), dict(per_layer_config={
        "0": {"head_dim": 16}}), dict(num_kv_shared_layers=1, use_double_wide_mlp=False), dict(enable_moe_block=True), dict(
        enable_moe_block=True, num_experts=2, top_k_experts=1, moe_intermediate_size=4), dict(rope_parameters={"full_attention": {
            "rope_type": "proportional", "rope_theta": 500.0, "partial_rotary_factor": 0.5}, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}),
    dict(enable_moe_block=False), dict(num_experts=MISSING), dict(top_k_experts=None), dict(top_k_experts=1), dict(top_k_experts=5), dict(top_k_experts=6),
    dict(enable_moe_block=False, num_experts=0, top_k_experts=0), dict(use_bidirectional_attention="all"), dict(use_bidirectional_attention="vision"), dict(rope_parameters={"full_attention": {
        "rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}, "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}}),
], mimo_v2_flash=[
    dict(layer_types=MISSING, mlp_layer_types=MISSING), dict(mlp_layer_types=MISSING), dict(sliding_window_size=4), dict(sliding_window_size=6), dict(
        sliding_window_size=None), dict(sliding_window=MISSING, sliding_window_size=4), dict(rope_parameters=MISSING), dict(rope_parameters={
        "full_attention": dict(YARN, rope_theta=500.0), "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}),
    dict(rope_parameters={"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0, "partial_rotary_factor": 0.5}, "sliding_attention": {
        "rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.17}}), dict(n_group=2, topk_group=1), dict(n_group=2, topk_group=2),
    dict(rope_parameters={"full_attention": {"rope_theta": 500.0}, "sliding_attention": {"rope_theta": 50.0}}),
], kolibri1=[dict(layer_types=["full_attention"] * 3, sliding_window=None), dict(layer_types=["full_attention"] * 3)],
   exaone_moe=[dict(mlp_layer_types=MISSING, first_k_dense_replace=2), dict(mlp_layer_types=MISSING), dict(layer_types=MISSING, sliding_window_pattern="LG"),
               dict(layer_types=MISSING, sliding_window_pattern="LG", sliding_window=5)],
   cohere2_moe=[
    dict(mlp_layer_types=MISSING, first_k_dense_replace=1), dict(first_k_dense_replace=1), dict(layer_types=MISSING, mlp_layer_types=MISSING, first_k_dense_replace=1),
    dict(layer_types=MISSING, mlp_layer_types=MISSING, first_k_dense_replace=1, prefix_dense_sliding_window_pattern=2, sliding_window_pattern=2),
    dict(layer_types=MISSING, first_k_dense_replace=2, sliding_window_pattern=1), dict(mlp_layer_types=MISSING), dict(rope_parameters=MISSING),
    dict(rope_parameters=MISSING, rope_theta=MISSING), dict(rms_norm_eps=0.5), dict(num_shared_experts=0, shared_expert_combination_strategy="other"),
    dict(expert_selection_fn="sigmoid", norm_topk_prob=False), dict(rms_norm_eps=1e-5, layer_norm_eps=None),
], zamba2=[
    dict(layers_block_type=MISSING, layer_types=["hybrid", "linear_attention", "hybrid", "linear_attention", "hybrid"]), dict(layer_types=["hybrid"] * 5),
    dict(layers_block_type=["mamba", "hybrid", "hybrid", "mamba", "hybrid"]), dict(layers_block_type=["mamba", "attention", "hybrid", "mamba", "hybrid"]),
    dict(layers_block_type=MISSING), dict(num_hidden_layers=4), dict(num_mem_blocks=1), dict(num_mem_blocks=3), dict(head_dim=8), dict(attention_head_dim=8),
    dict(attention_hidden_size=32), dict(mamba_headdim=8), dict(use_mem_rope=False), dict(use_long_context=True), dict(hybrid_layer_ids=[1, 2]),
    dict(use_long_context=True, rope_parameters={"rope_type": "dynamic", "rope_theta": 500.0, "factor": 4.0}), dict(mamba_expand=2.5),
    dict(use_mem_rope=False, rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0}), dict(time_step_min=0.3), dict(time_step_min=0.0),
    dict(time_step_limit=[0.0, 0.2]), dict(time_step_max=0.01), dict(intermediate_size=0), dict(num_key_value_heads=2), dict(kv_channels=4),
], zamba=[
    dict(layers_block_type=MISSING), dict(layers_block_type=MISSING, attn_layer_period=2, attn_layer_offset=1), dict(attn_layer_period=0), dict(head_dim=8),
    dict(layers_block_type=MISSING, num_hidden_layers=3), dict(layer_types=["linear_attention", "hybrid"] * 2), dict(attention_hidden_size=32),
    dict(layers_block_type=["mamba", "hybrid"] * 2), dict(layers_block_type=["mamba", "attention"] * 2), dict(attention_hidden_size=0), dict(attention_head_dim=0),
    dict(hidden_mamba_act="gelu"), dict(hidden_mamba_act="swish"), dict(mamba_dt_rank=2), dict(mamba_dt_rank=3), dict(n_mamba_heads=1), dict(n_mamba_heads=3),
    dict(num_hidden_layers=3),
], nemotron_h=[
    dict(layers_block_type=MISSING, hybrid_override_pattern="-*M"), dict(hybrid_override_pattern="M-*"), dict(hybrid_override_pattern=None),
    dict(layers_block_type=None, hybrid_override_pattern="-*M"), dict(layers_block_type=MISSING, hybrid_override_pattern="-*E"),
    dict(layers_block_type=MISSING, layer_types=["mlp", "attention", "mamba"]), dict(time_step_min=MISSING, mamba_dt_min=0.5),
    dict(use_conv_bias=MISSING, mamba_conv_bias=False), dict(use_conv_bias=MISSING, mamba_conv_bias=True),
    dict(n_groups=MISSING, mamba_n_groups=1), dict(n_groups=MISSING, mamba_n_groups=2), dict(conv_kernel=MISSING, mamba_d_conv=4),
    dict(expand=MISSING, mamba_expand=3), dict(time_step_limit=[0.0, 0.2], time_step_max=0.2), dict(num_hidden_layers=7),
], **{"modernbert-decoder": [
    dict(sliding_window=MISSING, local_attention=w) for w in (0, 1, 7, 12, None)] + [
    dict(sliding_window=w, local_attention=v) for w in (-1, None, 4) for v in (None, 12)] + [
    dict(sliding_window=w, local_attention=None, layer_types=["full_attention"] * 3) for w in (MISSING, -1)] + [
    dict(layer_types=MISSING, global_attn_every_n_layers=n) for n in (1, 2, 0, None)] + [
    dict(rope_parameters=MISSING, global_rope_theta=500.0, local_rope_theta=50.0), dict(global_rope_theta=500.0, local_rope_theta=50.0),
    dict(rope_parameters=MISSING), dict(rope_parameters={"full_attention": YARN}, global_rope_theta=500.0), dict(rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 50.0}},
        max_position_embeddings=8), dict(hidden_activation="relu", classifier_activation="silu"), dict(num_attention_heads=5), dict(head_dim=12),
]})
OF_KIND["xlstm"] = [
    dict(num_blocks=MISSING), dict(num_blocks=MISSING, num_hidden_layers=3), dict(num_blocks=None), dict(num_blocks=3, num_hidden_layers=2), dict(embedding_dim=16),
    dict(embedding_dim=None), dict(embedding_dim=MISSING), dict(hidden_size=16, embedding_dim=16), dict(ffn_proj_factor=1.0, ffn_round_up_to_multiple_of=40),
    dict(ffn_proj_factor=1.25, ffn_round_up_to_multiple_of=1), dict(ffn_proj_factor=1.26, ffn_round_up_to_multiple_of=1), dict(num_heads=2), dict(num_heads=3),
    dict(weight_mode="fused"), dict(weight_mode="other"), dict(mode="train"), dict(mode="train_with_padding"), dict(inference_state_dtype="bfloat16"), dict(eps=1e-3),
    dict(autocast_kernel_dtype="float32"), dict(chunk_size=8), dict(max_inference_chunksize=8), dict(chunkwise_kernel="parallel--native_autograd"),
    dict(gate_soft_cap=60.0), dict(qk_dim_factor=2.01), dict(v_dim_factor=1.99),
]
OF_KIND["inkling_text"] = [
    dict(layer_types=MISSING), dict(layer_types=None, local_layer_ids=[1]), dict(layer_types=MISSING, local_layer_ids=[]), dict(layer_types=MISSING, local_layer_ids=[0, 2, 9]),
    dict(layer_types=["hybrid_sliding"] * 3), dict(layer_types=["hybrid"] * 3), dict(layer_types=["hybrid_sliding", "full_attention", "hybrid_sliding"]),
    dict(layer_types=["sliding_attention", "hybrid", "hybrid_sliding"]), dict(mlp_layer_types=MISSING, dense_mlp_idx=1), dict(mlp_layer_types=None, dense_mlp_idx=2),
    dict(mlp_layer_types=MISSING, dense_mlp_idx=None), dict(dense_mlp_idx=3), dict(intermediate_size=12, dense_intermediate_size=48, moe_intermediate_size=7),
    dict(dense_intermediate_size=None), dict(mlp_layer_types=["other", "sparse", "sparse"]), dict(sliding_window_size=MISSING, sliding_window=5), dict(sliding_window=5),
    dict(sliding_window=7), dict(n_routed_experts=MISSING, num_local_experts=5), dict(num_local_experts=4), dict(conv_kernel_size=MISSING, sconv_kernel_size=4),
    dict(sconv_kernel_size=3), dict(sconv_kernel_size=None), dict(logits_mup_width_multiplier=MISSING, embedding_multiplier=2.0), dict(embedding_multiplier=3.0),
    dict(model_max_length=7), dict(unpadded_vocab_size=64), dict(unpadded_vocab_size=70), dict(unpadded_vocab_size=0), dict(log_scaling_n_floor=1), dict(log_scaling_n_floor=0),
    dict(log_scaling_n_floor=30), dict(log_scaling_alpha=0.0), dict(log_scaling_alpha=-0.5), dict(n_shared_experts=0), dict(n_shared_experts=1), dict(num_experts_per_tok=5),
    dict(num_experts_per_tok=6), dict(route_scale=0.0), dict(route_scale=-1.0), dict(logits_mup_width_multiplier=-2.0), dict(logits_mup_width_multiplier=0.0),
    dict(num_mtp_layers=2, mtp_local_layer_ids=[0]), dict(swa_num_attention_heads=3), dict(swa_num_key_value_heads=6), dict(shared_expert_sink=False), dict(rms_norm_eps_moe_gate=0.5),
    dict(hidden_act="swish"), dict(rms_norm_eps=0.5), dict(rel_extent=12), dict(d_rel=2), dict(sliding_window_size=0), dict(number_of_conv_states=2),
]
# A share of channels beside positions that take it for themselves, and positions that may not do without a length.
PROPORTIONAL = {"rope_type": "proportional", "rope_theta": 500.0}
BESIDE = [
    dict(rope_parameters=PROPORTIONAL, partial_rotary_factor=0.5), dict(rope_parameters=dict(PROPORTIONAL, partial_rotary_factor=0.25), partial_rotary_factor=0.5),
    dict(rope_parameters=MISSING, rope_theta=500.0, rope_scaling={"type": "proportional", "factor": 2.0}, partial_rotary_factor=0.5),
]
BESIDE_KINDS = [dict(rope_parameters={"full_attention": PROPORTIONAL, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}, partial_rotary_factor=0.5)]
OF_KIND["llama"] = BESIDE
OF_KIND["lfm3"] = [dict(rope_parameters={"full_attention": PROPORTIONAL, "sliding_attention": PROPORTIONAL}, partial_rotary_factor=0.5)]
for kind in ("laguna", "mimo_v2_flash"):
    OF_KIND[kind] = OF_KIND[kind] + BESIDE_KINDS
OF_KIND["cohere2_moe"] = OF_KIND["cohere2_moe"] + BESIDE + [
    dict(rope_parameters=dict(YARN, rope_theta=500.0)), dict(rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0}),
    dict(rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, max_position_embeddings=16),
    dict(partial_rotary_factor=0.5),
]
OF_KIND["gemma4_text"] = OF_KIND["gemma4_text"] + [dict(hidden_size_per_layer_input=0), dict(hidden_size_per_layer_input=0, num_kv_shared_layers=0)]
OF_KIND["phi4_multimodal"] = OF_KIND["phi3"] + [
    dict(rope_parameters=MISSING, original_max_position_embeddings=None), dict(rope_parameters=LONG, original_max_position_embeddings=None),
    dict(rope_parameters=dict(LONG, original_max_position_embeddings=8), original_max_position_embeddings=None), dict(num_key_value_heads=None),
    dict(rope_parameters=dict(LONG, original_max_position_embeddings=8), original_max_position_embeddings=MISSING),
]


def special(field, value, depth):
    """Values that say more than another number would."""
    lists = [[a] * (depth - 1) + [b] for a, b in (("full_attention",) * 2, ("sliding_attention", "full_attention"),
                                                  ("full_attention", "sliding_attention"), ("linear_attention", "full_attention"),
                                                  ("mamba", "attention"), ("full_attention", "chunked_attention"), ("conv", "full_attention"), ("conv", "sliding_attention"))]
    ropes = [{}, {"rope_type": "default"}, {"rope_type": "default", "rope_theta": 500.0},
             {"rope_type": "default", "rope_theta": None}, {"rope_theta": 500.0, "type": "linear", "factor": 4.0},
             {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 8},
             {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 4.0},
             {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 16},
             {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
             {"full_attention": {"rope_type": "default", "rope_theta": 500.0}},
             {"full_attention": {"rope_type": "default", "rope_theta": 500.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}},
             {"full_attention": None, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}]
    known = dict(
        layer_types=lists, layers_block_type=lists, rope_parameters=ropes,
        rope_scaling=[{}, {"type": "linear", "factor": 4.0}, {"rope_type": "dynamic", "factor": 4.0},
                      {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}],
        rope_theta=[500.0], rope_local_base_freq=[50.0], partial_rotary_factor=[0.5, 1.0],
        original_max_position_embeddings=[8], is_causal=[False, True], is_decoder=[True, False], add_cross_attention=[True, False],
        per_layer_config=[{"0": {"intermediate_size": 48}}, {"0": {"rms_norm_eps": 0.5}}, {}],
        sliding_window=[3, 7, 1000], use_sliding_window=[True, False], max_window_layers=[0, 1, 2], sliding_window_pattern=[1, 2, 3],
        _sliding_window_pattern=[1, 2, 3], attention_chunk_size=[4, 8], use_bidirectional_attention=[True, False],
        head_dim=[8, 16], attention_bias=[True, False], mlp_bias=[True, False], qkv_bias=[True, False],
        attn_logit_softcapping=[2.0, 50.0], final_logit_softcapping=[2.0, 30.0], query_pre_attn_scalar=[64, 8],
        logit_scale=[0.25, 1.0], full_attention_interval=[1, 2], num_local_experts=[0, 1, 2], num_experts=[0, 1, 2],
        transformers_version=["4.40.0", "5.22.0", "nonsense"], tie_last_hidden_states=[True, False], tie_word_embeddings=[True, False],
        no_rope_layers=[[0] * depth, [1] * depth], embedding_multiplier=[2.0, 1.0], attention_multiplier=[0.5, 1.0],
        quantization_config=[{"quant_method": "fp8"}, {}], hidden_act=["gelu", "gelu_pytorch_tanh", "relu", "tanh"],
        hidden_activation=["gelu", "silu", "tanh"], position_embedding_type=["rope", "nope", "absolute"],
        n_mamba_heads=[1, 2, 4, 8], mamba_dt_rank=["auto", 2, 3], num_mem_blocks=[1, 2, 3, 4], hidden_mamba_act=["silu", "swish", "gelu"],
        time_step_limit=[[0.0, 0.2], [0.3, 9.0], [0.0, {"__float__": "Infinity"}]], attn_layer_indices=[[], [1], [0]],
        moe_layers=[[], [1]], gating=[True, False, "per-head", "per-element", "other"], num_attention_heads_per_layer=[[4] * depth, [4, 6, 2], [4], []],
        expert_selection_fn=["softmax", "sigmoid", "other"], shared_expert_combination_strategy=["sum", "average", "other"],
        moe_apply_router_weight_on_input=[True, False], prefix_dense_sliding_window_pattern=[1, 2], interleave_moe_layer_step=[1, 2, 4],
        block_types=[["recurrent", "attention"], ["attention"], ["recurrent", "recurrent", "other"], []],
        n_group=[1, 2, 8], topk_group=[1, 2, 3], topk_method=["greedy", "group_limited_greedy", "noaux_tc"],
        first_k_dense_replace=[0, 1, depth, depth + 1], mlp_layer_types=[["dense"] * depth, ["sparse"] * depth, ["other"] * depth],
        mlp_only_layers=[[], [0], [0, 1]], full_attn_idxs=[[], [1], [0]], tie_embedding=[True, False], block_ff_dim=[44, 48], time_step_rank=["auto", 7], mamba_d_head=["auto", 16, 8],
        num_key_value_heads=[1, 2, 4], no_rope_layer_interval=[1, 2], dtype=["bfloat16", "float32"], problem_type=["regression"],
        id2label={"0": "a"} and [{"0": "a"}], label2id=[{"a": 0}], architectures=[["Other"]], layer_rope_theta=[[0, 500.0], [500.0] * depth, [0] * depth],
    )
    return known.get(field)


def values(field, value, default, depth):
    found = special(field, value, depth)
    if found is None:
        like = default if value == MISSING or value is None else value
        if isinstance(like, bool):
            found = [True, False]
        elif isinstance(like, int):
            found = [like + 1, like * 2 + 2]
        elif isinstance(like, float):
            found = [like * 1.5 + 0.125, like + 1.0]
        else:
            found = [True, 3]
    return [v for v in [*found, None, MISSING] if v != value or isinstance(v, bool) != isinstance(value, bool)]


def plain(value):
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"__float__": "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def fields_of(config_class):
    found = {}
    for f in dataclasses.fields(config_class):
        if f.name.startswith("_"):
            continue
        default = f.default if f.default is not dataclasses.MISSING else f.default_factory() if f.default_factory is not dataclasses.MISSING else None
        found[f.name] = plain(default)
    return found


def resolved(config_class):
    """What the class makes of an empty config.json; the tiny sizes keep lists of layers short."""
    try:
        config = config_class(num_hidden_layers=8)
        return {k: plain(v) for k, v in config.to_dict().items() if not k.startswith("_") and "token_id" not in k}
    except Exception as error:
        return dict(raises=str(error)[:120])


class Raised(Exception):
    pass


def run(folder, config, ids):
    with tempfile.TemporaryDirectory() as at:
        for name in os.listdir(folder):
            if name.endswith((".safetensors", ".index.json")) and name != "expected.safetensors":
                os.symlink(os.path.abspath(os.path.join(folder, name)), os.path.join(at, name))
        with open(os.path.join(at, "config.json"), "w") as f:
            json.dump(config, f)
        settings = tf.AutoConfig.from_pretrained(at)
        settings._attn_implementation = "eager"
        with torch.device("meta"):
            size = sum(p.numel() for p in tf.AutoModelForCausalLM.from_config(settings).parameters())
        if size > 2e6:
            raise Raised("other sizes")
        model, info = tf.AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            raise Raised("tensors")
        with torch.no_grad():
            return model.eval()(input_ids=ids, use_cache=False, return_dict=True).logits[0]


def walk(root, out, kind):
    folder = os.path.join(root, FOLDERS[kind])
    with open(os.path.join(folder, "config.json")) as f:
        base = json.load(f)
    ids = load_file(os.path.join(folder, "expected.safetensors"))["input_ids"][:1].long()
    config_class = type(tf.AutoConfig.for_model(kind)) if kind not in TEXT_CONFIGS else getattr(tf, TEXT_CONFIGS[kind])
    own = fields_of(config_class)
    want = run(folder, base, ids)
    last, vocab = ids.shape[1] - 1, want.shape[-1]
    places = [[last, 3], [last, vocab // 2], [last, vocab - 1], [last // 2, 5], [5, vocab - 2]]
    kept = lambda logits: [float(f"{logits[t, v].item():.6g}") for t, v in places]
    cases = []

    def take(field, value, changes):
        config = copy.deepcopy(base)
        config.update(copy.deepcopy(changes))
        try:
            got = run(folder, {k: v for k, v in config.items() if v != MISSING}, ids)
            same = got.shape == want.shape and (got - want).abs().max() <= 1e-6 * want.abs().max()
            verdict = "same" if same else "raises" if not torch.isfinite(got).all() else kept(got)
        except Exception:
            verdict = "raises"
        cases.append([field, value, verdict])

    for field in dict.fromkeys([*own, *SHARED]):
        for value in values(field, base.get(field, MISSING), own.get(field), base.get("num_hidden_layers") or base.get("num_layers") or len(base["layers_block_type"])):
            if field != "model_type" and (value != MISSING or field in base):
                take(field, value, {field: value})
    for changes in [*TOGETHER, *OF_KIND.get(kind, [])]:
        take("*", changes, changes)
    os.makedirs(out, exist_ok=True)
    lines = ",\n".join("    " + json.dumps(case) for case in cases)
    head = {"folder": FOLDERS[kind], "class": {k: v for k, v in own.items() if k != "model_type"},
            "nullable": [f.name for f in dataclasses.fields(config_class) if any(word in str(f.type) for word in ("None", "Optional"))], "resolved": resolved(config_class), "places": places, "base": kept(want)}
    text = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    with open(os.path.join(out, f"{kind}.json"), "w") as f:
        f.write("{\n" + text + ",\n  \"cases\": [\n" + lines + "\n  ]\n}\n")
    count = lambda test: sum(1 for case in cases if test(case[2]))
    print(kind, len(cases), "cases:", count(lambda v: v == "same"), "same,", count(lambda v: v == "raises"), "raise,",
          count(lambda v: isinstance(v, list)), "differ", flush=True)


if __name__ == "__main__":
    root, out, *kinds = sys.argv[1:]
    torch.set_num_threads(1)
    for kind in kinds or FOLDERS:
        walk(root, out, kind)
