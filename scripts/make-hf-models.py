"""Makes tiny random models of many kinds with Transformers, each with what that library computes on it.

    pip install torch transformers safetensors
    python scripts/make-hf-models.py OUT [NAME ...]

Every folder OUT/NAME gets config.json, model.safetensors (or shards) and expected.safetensors: input_ids [2,T], logits, hidden.N
(the last one after the final norm), attn.N (first sample), loss (labels = input_ids) and gradnorm.NAME, the L2 norm of that loss's
gradient per parameter; eager attention, float32. `longsight parity OUT/NAME` compares.
"""
import json
import os
import sys

import torch
import transformers as tf
from safetensors.torch import load_file, save_file

SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2,
             tie_word_embeddings=False)
WINDOWS = dict(sliding_window=5, layer_types=["sliding_attention", "full_attention"])
GDN = dict(layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=4,
           linear_key_head_dim=8, linear_value_head_dim=16, linear_conv_kernel_dim=4)
NEXT = dict(GDN, head_dim=16, mlp_only_layers=[0, 1], num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8,
            shared_expert_intermediate_size=8)
MAMBA = dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1, mamba_chunk_size=8)
BAMBA = dict(MAMBA, attn_layer_indices=[1])
GRANITE_HYBRID = dict(MAMBA, layer_types=["linear_attention", "full_attention"], num_local_experts=0,
                      shared_intermediate_size=48)
MAMBA2 = dict(num_heads=4, head_dim=16, state_size=8, n_groups=1, chunk_size=8, conv_kernel=4, expand=2)
MAMBA1 = dict(state_size=4, conv_kernel=4, expand=2)
JAMBA = dict(num_experts=1, num_experts_per_tok=1, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4)
FALCON_H1 = dict(mamba_d_ssm=48, mamba_n_heads=4, mamba_d_head=12, mamba_n_groups=1, mamba_d_state=8, mamba_chunk_size=8)
BAILING = dict(num_key_value_heads=4, kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, num_hidden_layers=3, head_dim=8,
               layer_group_size=3, num_local_experts=6, n_group=3, topk_group=2, num_experts_per_tok=2, moe_intermediate_size=12)
ZAMBA2 = dict(num_key_value_heads=4, n_mamba_heads=4, mamba_d_state=8, chunk_size=8, num_hidden_layers=5,
              layers_block_type=["linear_attention", "hybrid", "hybrid", "linear_attention", "hybrid"])
ZAMBA = dict(num_key_value_heads=4, mamba_d_state=4, num_hidden_layers=4,
             layers_block_type=["linear_attention", "hybrid", "linear_attention", "hybrid"])
NEMOTRON = dict(mamba_num_heads=4, mamba_head_dim=8, ssm_state_size=8, n_groups=2, chunk_size=8, head_dim=8, n_routed_experts=2,
                moe_intermediate_size=8, moe_shared_expert_intermediate_size=8)
MINIMAX = dict(layer_types=["linear_attention", "full_attention"], num_local_experts=1, num_experts_per_tok=1, block_size=8,
               head_dim=8)
MLA = dict(num_key_value_heads=4, kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, first_k_dense_replace=2)
KIMI = dict(num_key_value_heads=4, kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, num_hidden_layers=3,
            mlp_layer_types=["dense"] * 3, linear_head_dim=8, linear_num_heads=3, linear_conv_kernel_dim=4,
            layer_types=["linear_attention", "full_attention", "linear_attention"])
SPARSE = dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8)
LLAMA4 = dict(moe_layers=[], intermediate_size_mlp=48, num_local_experts=2, head_dim=8)
EXPERTS = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=12)
SHARED = dict(EXPERTS, shared_expert_intermediate_size=20)
AFMOE = dict(EXPERTS, num_dense_layers=1, num_shared_experts=1, head_dim=16)
LARA = dict(SHARED, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=16,
            linear_conv_kernel_dim=4, head_dim=16)
DOTS = dict(n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=12)
GEMMA4 = dict(head_dim=8, global_head_dim=16, hidden_size_per_layer_input=6, vocab_size_per_layer_input=64, sliding_window=5,
              tie_word_embeddings=True)
MIMO = dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, head_dim=12, v_head_dim=8)
INKLING = dict(n_routed_experts=5, num_experts_per_tok=2, moe_intermediate_size=12, n_shared_experts=2, route_scale=1.6, d_rel=4, sliding_window_size=5,
               logits_mup_width_multiplier=2.0)
OSS = dict(num_local_experts=4, num_experts_per_tok=2, head_dim=8)
GPT_NEO = dict(num_layers=2, num_heads=4, num_hidden_layers=None, num_attention_heads=None, num_key_value_heads=None)
BERT = dict(num_key_value_heads=None, hidden_size=24, intermediate_size=20, tie_word_embeddings=True)
# Caches of its class hold heads whose widths are multiples of 64 in all.
XLSTM = dict(hidden_size=32, num_blocks=2, num_heads=4, embedding_dim=32, qk_dim_factor=2.0, v_dim_factor=2.0, ffn_proj_factor=1.2, ffn_round_up_to_multiple_of=8,
             intermediate_size=None, num_attention_heads=None, num_key_value_heads=None, max_position_embeddings=None)
PHI4 = dict(hidden_size=16, intermediate_size=12, num_attention_heads=2, original_max_position_embeddings=32, vision_config=dict(
    hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, image_size=4, crop_size=4, patch_size=2, image_token_id=9, feature_layer=-1),
    audio_config=dict(hidden_size=4, intermediate_size=4, num_blocks=1, num_attention_heads=1, ext_pw_out_channel=4, depthwise_separable_out_channel=4, input_size=8,
                      bias_max_distance=4, nemo_conv_channels=4, audio_token_id=10, feature_layer=-1))
LFM2 = dict(layer_types=["conv", "full_attention"], block_multiple_of=10, block_ffn_dim_multiplier=1.2)

VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=4, patch_size=2)


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=1000.0, **more))


def ropes(sliding, full):
    return dict(rope_parameters=dict(sliding_attention=dict(rope_theta=100.0, **sliding),
                                     full_attention=dict(rope_theta=1000.0, **full)))


DEFAULT = dict(rope_type="default")
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)

# name: (config class, model class, fields, options)
MODELS = {
    "llama-linear": ("Llama", rope("linear", factor=2.0), {}),
    "llama-dynamic": ("Llama", dict(rope("dynamic", factor=2.0), max_position_embeddings=8), {}),
    "llama-yarn": ("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=16), {}),
    "llama-yarn-mscale": ("Llama", rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7,
                                        mscale_all_dim=1.3, beta_fast=16.0, beta_slow=2.0, truncate=False), {}),
    "llama-llama3": ("Llama", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=16), {}),
    "llama-biases-tied": ("Llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True, hidden_act="gelu"), {}),
    "llama-head-dim": ("Llama", dict(head_dim=12, num_key_value_heads=1), {}),
    "llama-shards-bf16": ("Llama", dict(num_key_value_heads=4), dict(dtype="bfloat16", shard="20KB")),
    "llama-stored-head": ("Llama", dict(tie_word_embeddings=True), dict(head="apart")),
    "llama-head-only": ("Llama", dict(tie_word_embeddings=True), dict(head="only")),
    "llama-fp16": ("Llama", dict(hidden_act="gelu_new"), dict(dtype="float16")),
    "mistral-window": ("Mistral", dict(sliding_window=23, head_dim=16), {}),
    "qwen2": ("Qwen2", dict(use_sliding_window=True, sliding_window=5, max_window_layers=1), {}),
    "qwen3-bias-windows": ("Qwen3", dict(attention_bias=True, head_dim=8, use_sliding_window=True, **WINDOWS), {}),
    "smollm3-swapped": ("SmolLM3", dict(sliding_window=1, use_sliding_window=True, no_rope_layers=[0, 1],
                                        layer_types=["full_attention", "sliding_attention"]), {}),
    "smollm3-tied-bias": ("SmolLM3", dict(attention_bias=True, tie_word_embeddings=True, no_rope_layers=[1, 0],
                                          use_sliding_window=True, **WINDOWS), {}),
    "granite": ("Granite", dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.6,
                                logits_scaling=4.0, attention_bias=True), {}),
    "gemma3": ("Gemma3Text:Gemma3", dict(head_dim=16, query_pre_attn_scalar=24, final_logit_softcapping=5.0,
                                         **ropes(DEFAULT, dict(rope_type="linear", factor=8.0)), **WINDOWS), {}),
    "gemma3-tied": ("Gemma3Text:Gemma3", dict(head_dim=8, query_pre_attn_scalar=8, tie_word_embeddings=True,
                                              attention_bias=True, sliding_window=24,
                                              layer_types=["full_attention", "sliding_attention"]), {}),
    "cohere2": ("Cohere2", dict(logit_scale=0.5, attention_bias=True, tie_word_embeddings=True, **WINDOWS), {}),
    "exaone4-all-full": ("Exaone4", dict(sliding_window=None, layer_types=["full_attention"] * 2), {}),
    "exaone4-windows": ("Exaone4", dict(rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                             original_max_position_embeddings=16), **WINDOWS), {}),
    "olmo3-yarn": ("Olmo3", dict(ropes(DEFAULT, YARN), attention_bias=True, **WINDOWS), {}),
    "qwen3-next": ("Qwen3Next", NEXT, {}),
    "qwen3-next-tied": ("Qwen3Next", dict(NEXT, linear_num_key_heads=4, tie_word_embeddings=True,
                                          layer_types=["full_attention", "linear_attention"]), {}),
    "olmo-hybrid": ("OlmoHybrid", dict(GDN, linear_num_value_heads=2, linear_value_head_dim=8), {}),
    "olmo-hybrid-nope": ("OlmoHybrid", dict(GDN, linear_allow_neg_eigval=False, rope_parameters=None, linear_num_key_heads=4), {}),
    "minimax": ("MiniMax", dict(MINIMAX, full_attn_alpha_factor=1.5, full_attn_beta_factor=0.8, linear_attn_alpha_factor=1.2,
                                linear_attn_beta_factor=0.9, mlp_alpha_factor=1.3, mlp_beta_factor=0.7), {}),
    "deepseek-v3": ("DeepseekV3", dict(MLA, q_lora_rank=10, rope_parameters=dict(
        YARN, rope_theta=1000.0, mscale=0.8, mscale_all_dim=1.3)), {}),
    "deepseek-v3-halves": ("DeepseekV3", dict(MLA, q_lora_rank=None, attention_bias=True, rope_interleave=False,
                                              tie_word_embeddings=True, qk_rope_head_dim=8, v_head_dim=8), {}),
    "deepseek-v3-biases": ("DeepseekV3", dict(MLA, q_lora_rank=10, attention_bias=True, hidden_act="gelu", qk_rope_head_dim=8,
                                              **rope("linear", factor=2.0, mscale_all_dim=0.7)), {}),
    "deepseek-v2": ("DeepseekV2", dict(MLA, q_lora_rank=10, mlp_bias=True, rope_parameters=dict(
        YARN, rope_theta=1000.0, mscale=0.707, mscale_all_dim=0.707)), {}),
    "deepseek-v3-experts": ("DeepseekV3", dict(MLA, q_lora_rank=None, first_k_dense_replace=1, n_routed_experts=8, n_group=4, topk_group=2,
                                               num_experts_per_tok=3, moe_intermediate_size=8, n_shared_experts=2), {}),
    "deepseek-v2-experts": ("DeepseekV2", dict(MLA, q_lora_rank=10, first_k_dense_replace=1, n_routed_experts=6, num_experts_per_tok=2,
                                               moe_intermediate_size=8, n_shared_experts=1, routed_scaling_factor=1.7), {}),
    "deepseek-v2-groups": ("DeepseekV2", dict(MLA, q_lora_rank=None, first_k_dense_replace=0, n_routed_experts=6, num_experts_per_tok=2, n_group=3,
                                              topk_group=2, topk_method="group_limited_greedy", moe_intermediate_size=8, n_shared_experts=1), {}),
    "kimi-linear-experts": ("KimiLinear", dict(KIMI, mlp_layer_types=["dense", "sparse", "sparse"], num_local_experts=6, n_group=2, topk_group=1,
                                               num_experts_per_tok=2, moe_intermediate_size=8, n_shared_experts=2), {}),
    "kimi-linear": ("KimiLinear", KIMI, {}),
    "kimi-linear-queries": ("KimiLinear", dict(KIMI, q_lora_rank=10, attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3,
                                               qk_rope_head_dim=6), {}),
    "ministral": ("Ministral", dict(WINDOWS, head_dim=12), {}),
    "ministral-all-windows": ("Ministral", dict(sliding_window=7, num_key_value_heads=4, head_dim=8), {}),
    "ministral3": ("Ministral3", dict(sliding_window=9, head_dim=16, rope_parameters=dict(
        YARN, rope_theta=1000.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.0)), {}),
    "ministral3-scaled": ("Ministral3", dict(sliding_window=None, head_dim=8, rope_parameters=dict(
        YARN, original_max_position_embeddings=5, rope_theta=1000.0, llama_4_scaling_beta=0.3)), {}),
    "arcee": ("Arcee", rope("yarn", factor=4.0, original_max_position_embeddings=16), {}),
    "arcee-biases": ("Arcee", dict(attention_bias=True, mlp_bias=True, head_dim=12, hidden_act="silu", tie_word_embeddings=True), {}),
    "cwm": ("Cwm", dict(sliding_window=6, head_dim=8, mlp_bias=True, num_hidden_layers=3, rope_parameters=dict(
        rope_type="llama3", rope_theta=1000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=16)), {}),
    "seed-oss": ("SeedOss", dict(head_dim=12, attention_dropout=0.0, residual_dropout=0.0), {}),
    "seed-oss-biases": ("SeedOss", dict(head_dim=8, attention_out_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                        attention_dropout=0.0, residual_dropout=0.0), {}),
    "phi3-window": ("Phi3", dict(sliding_window=5), {}),
    "phi3-partial": ("Phi3", dict(sliding_window=None, num_key_value_heads=4, rope_parameters=dict(
        rope_type="default", rope_theta=1000.0, partial_rotary_factor=0.5)), {}),
    "phi3-scaled": ("Phi3", dict(sliding_window=None, original_max_position_embeddings=16, rope_parameters=dict(
        rope_type="longrope", rope_theta=1000.0, partial_rotary_factor=0.5, short_factor=[1.0, 1.3], long_factor=[1.5, 4.0])), {}),
    "phi3-scaled-short": ("Phi3", dict(sliding_window=5, original_max_position_embeddings=32, num_key_value_heads=4, tie_word_embeddings=True,
                                         rope_parameters=dict(rope_type="longrope", rope_theta=1000.0, short_factor=[1.0, 1.3, 1.5, 2.0],
                                                              long_factor=[1.5, 4.0, 5.0, 6.0])), {}),
    "xlstm": ("xLSTM", dict(XLSTM), {}),
    "xlstm-wide": ("xLSTM", dict(XLSTM, hidden_size=24, num_heads=3, num_blocks=1, num_hidden_layers=1, embedding_dim=24, qk_dim_factor=2.0, v_dim_factor=1.25, gate_soft_cap=3.0,
                                 output_logit_soft_cap=4.0, norm_eps=1e-4, ffn_proj_factor=1.4), {}),
    "phi4-multimodal": ("Phi4Multimodal", dict(
        PHI4, sliding_window=5, num_key_value_heads=1, tie_word_embeddings=True, rope_parameters=dict(
            rope_type="longrope", rope_theta=1000.0, partial_rotary_factor=0.75, short_factor=[1.0, 1.3, 1.6], long_factor=[1.5, 4.0, 5.0])), {}),
    "llama-longrope": ("Llama", rope("longrope", factor=4.0, original_max_position_embeddings=16, attention_factor=1.3, short_factor=[1.0] * 4,
                                     long_factor=[1.1, 2.0, 3.0, 4.0]), {}),
    "olmo2": ("Olmo2", dict(rope("linear", factor=2.0), attention_bias=True), {}),
    "granite-swa": ("GraniteSWA", dict(sliding_window=5, num_hidden_layers=3, embedding_multiplier=3.0, attention_multiplier=0.2,
                                       residual_multiplier=0.6, logits_scaling=4.0, layer_rope_theta=[0, 500.0, 500.0],
                                       layer_types=["full_attention", "sliding_attention", "sliding_attention"]), {}),
    "granite-swa-bases": ("GraniteSWA", dict(sliding_window=6, layer_rope_theta=[500.0, 50.0], attention_bias=True, mlp_bias=True,
                                             tie_word_embeddings=True, **rope("linear", factor=2.0)), {}),
    "qwen3-5": ("Qwen3_5Text:Qwen3_5", dict(GDN, head_dim=16), {}),
    "qwen3-5-tied": ("Qwen3_5Text:Qwen3_5", dict(GDN, head_dim=8, linear_num_key_heads=4, tie_word_embeddings=True,
                                                 layer_types=["full_attention", "linear_attention"]), {}),
    "lfm2": ("Lfm2", dict(LFM2, **rope("linear", factor=2.0)), {}),
    "lfm2-biases": ("Lfm2", dict(LFM2, conv_bias=True, conv_L_cache=4, num_key_value_heads=4, block_auto_adjust_ff_dim=False,
                                 tie_word_embeddings=True, layer_types=["full_attention", "conv", "conv"], num_hidden_layers=3), {}),
    "lfm3": ("Lfm3", dict(layer_types=["conv", "full_attention", "sliding_attention"], num_hidden_layers=3, head_dim=16,
                          sliding_window=5, conv_L_cache=4, **ropes(DEFAULT, dict(rope_type="proportional", partial_rotary_factor=0.4))), {}),
    "lfm3-plain": ("Lfm3", dict(layer_types=["sliding_attention", "conv"], head_dim=8, num_key_value_heads=4, sliding_window=6,
                                conv_bias=True, attention_bias=True, use_sandwich_norm=False, use_attention_gate=False,
                                tie_word_embeddings=True), {}),
    "llama-proportional": ("Llama", rope("proportional", factor=2.0, partial_rotary_factor=0.7), {}),
    "mellum": ("Mellum", dict(SPARSE, **ropes(DEFAULT, dict(rope_type="linear", factor=2.0)), mlp_layer_types=["dense"] * 2, head_dim=16,
                              **WINDOWS), {}),
    # A window in the file, and no layer that has it.
    "mellum-full": ("Mellum", dict(SPARSE, mlp_layer_types=["dense"] * 2, head_dim=8, sliding_window=5, attention_bias=True,
                                   tie_word_embeddings=True, num_key_value_heads=4, num_mtp_layers=1), {}),
    "flint": ("Flint", dict(SPARSE, **rope("linear", factor=2.0), mlp_only_layers=[0, 1, 2], num_hidden_layers=3, head_dim=16, sliding_window=5,
                            layer_types=["full_attention", "sliding_attention", "sliding_attention"]), {}),
    "flint-plain": ("Flint", dict(SPARSE, num_experts=0, head_dim=8, attention_bias=True, tie_word_embeddings=True, num_hidden_layers=4,
                                  sliding_window=6), {}),
    "starcoder2": ("Starcoder2", dict(sliding_window=5), {}),
    "starcoder2-plain": ("Starcoder2", dict(rope("linear", factor=2.0), use_bias=False, num_key_value_heads=4, hidden_act="silu",
                                            tie_word_embeddings=True), {}),
    "nanochat": ("NanoChat", dict(final_logit_softcapping=4.0), {}),
    "nanochat-biases": ("NanoChat", dict(rope("linear", factor=2.0), attention_bias=True, final_logit_softcapping=None, head_dim=12,
                                         num_key_value_heads=4, hidden_act="gelu", tie_word_embeddings=True), {}),
    "apertus": ("Apertus", dict(rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                     original_max_position_embeddings=16), tie_word_embeddings=True), {}),
    "apertus-biases": ("Apertus", dict(rope("default"), attention_bias=True, head_dim=12, num_key_value_heads=4), dict(dtype="bfloat16")),
    "gemma2": ("Gemma2", dict(rope("linear", factor=2.0), head_dim=16, query_pre_attn_scalar=24, attn_logit_softcapping=0.7,
                              final_logit_softcapping=2.0, sliding_window=5), {}),
    "gemma2-biases": ("Gemma2", dict(head_dim=8, query_pre_attn_scalar=8, attn_logit_softcapping=1.5, final_logit_softcapping=None,
                                     attention_bias=True, tie_word_embeddings=True, num_key_value_heads=4, sliding_window=23,
                                     layer_types=["full_attention", "sliding_attention"]), {}),
    "vaultgemma": ("VaultGemma", dict(head_dim=16, query_pre_attn_scalar=24, attn_logit_softcapping=0.7, final_logit_softcapping=2.0,
                                      attention_bias=True, num_hidden_layers=3, sliding_window=5), {}),
    "mixtral": ("Mixtral", dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=5, head_dim=8, **rope("linear", factor=2.0)), {}),
    "mixtral-full": ("Mixtral", dict(num_local_experts=3, num_experts_per_tok=1, head_dim=12, hidden_act="gelu", tie_word_embeddings=True), {}),
    "qwen3-moe": ("Qwen3Moe", dict(EXPERTS, head_dim=8, use_sliding_window=True, sliding_window=5, norm_topk_prob=True), {}),
    "qwen3-moe-dense-first": ("Qwen3Moe", dict(EXPERTS, head_dim=16, attention_bias=True, mlp_only_layers=[0], norm_topk_prob=False), {}),
    "qwen2-moe": ("Qwen2Moe", dict(SHARED, use_sliding_window=True, sliding_window=5, max_window_layers=1), {}),
    "qwen2-moe-every-second": ("Qwen2Moe", dict(SHARED, decoder_sparse_step=2, qkv_bias=False, norm_topk_prob=True), {}),
    "qwen3-next-experts": ("Qwen3Next", dict(GDN, **SHARED, head_dim=16), {}),
    "qwen3-next-dense-first": ("Qwen3Next", dict(GDN, **SHARED, head_dim=8, mlp_only_layers=[0], norm_topk_prob=False,
                                                 tie_word_embeddings=True), dict(stacked=True)),
    "qwen3-5-moe": ("Qwen3_5MoeText:Qwen3_5Moe", dict(GDN, **SHARED, head_dim=16), {}),
    "qwen3-5-moe-images": ("Qwen3_5Moe:Qwen3_5MoeForConditionalGeneration", dict(GDN, **SHARED, head_dim=16, rope_parameters=dict(
        rope_type="default", rope_theta=1000.0, partial_rotary_factor=0.5, mrope_section=[2, 1, 1])), dict(
        vision=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, patch_size=2, out_hidden_size=32,
                    num_position_embeddings=4))),
    "gpt-oss": ("GptOss", dict(OSS, sliding_window=5, **rope("yarn", factor=4.0, original_max_position_embeddings=16, truncate=False)), {}),
    "gpt-oss-plain": ("GptOss", dict(OSS, sliding_window=6, attention_bias=False, swiglu_alpha=1.3, swiglu_limit=0.5, num_hidden_layers=3,
                                     tie_word_embeddings=True, head_dim=12), dict(dtype="bfloat16")),
    "granite-hybrid-experts": ("GraniteMoeHybrid", dict(GRANITE_HYBRID, num_local_experts=5, num_experts_per_tok=2, intermediate_size=12,
                                                        residual_multiplier=0.6, attention_multiplier=0.2), {}),
    "minimax-experts": ("MiniMax", dict(MINIMAX, num_local_experts=4, num_experts_per_tok=2, mlp_alpha_factor=1.3, mlp_beta_factor=0.7), {}),
    "mellum-experts": ("Mellum", dict(EXPERTS, mlp_layer_types=["dense", "sparse"], head_dim=16, norm_topk_prob=False, **WINDOWS), {}),
    "flint-experts": ("Flint", dict(SHARED, mlp_only_layers=[1], num_hidden_layers=3, head_dim=16, sliding_window=5,
                                    layer_types=["full_attention", "sliding_attention", "sliding_attention"]), {}),
    "jamba-experts": ("Jamba", dict(JAMBA, num_experts=4, num_experts_per_tok=2, num_hidden_layers=4, expert_layer_period=2,
                                    expert_layer_offset=1), {}),
    "lfm2-moe": ("Lfm2Moe", dict(EXPERTS, layer_types=["conv", "full_attention", "conv"], num_hidden_layers=3, num_dense_layers=1,
                                 routed_scaling_factor=1.5), {}),
    "lfm2-moe-plain": ("Lfm2Moe", dict(EXPERTS, layer_types=["full_attention", "conv"], num_dense_layers=0, use_expert_bias=False,
                                       norm_topk_prob=False, conv_bias=True, conv_L_cache=4, tie_word_embeddings=True), {}),
    "nemotron-h-experts": ("NemotronH", dict(
        NEMOTRON, layers_block_type=["linear_attention", "moe", "full_attention", "mlp", "moe"], n_routed_experts=6, num_experts_per_tok=2,
        n_group=3, topk_group=2, routed_scaling_factor=1.5, moe_shared_expert_intermediate_size=12), {}),
    "nemotron-h-latent": ("NemotronH", dict(
        NEMOTRON, layers_block_type=["moe", "full_attention", "moe"], n_routed_experts=4, num_experts_per_tok=3, moe_latent_size=12,
        mlp_bias=True, norm_topk_prob=False), {}),
    "afmoe": ("Afmoe", dict(AFMOE, sliding_window=5, mup_enabled=True, route_scale=1.5, num_hidden_layers=3,
                            layer_types=["sliding_attention", "full_attention", "sliding_attention"]), {}),
    "afmoe-plain": ("Afmoe", dict(AFMOE, num_dense_layers=0, num_shared_experts=2, attention_bias=True, sliding_window=23,
                                  tie_word_embeddings=True, global_attn_every_n_layers=2, **rope("linear", factor=2.0)), {}),
    "afmoe-unshared": ("Afmoe", dict(AFMOE, num_shared_experts=0, num_experts_per_tok=5, sliding_window=5, route_scale=2.0), {}),
    "lara-mini": ("LaraMini", dict(LARA, sliding_window=5, num_hidden_layers=3,
                                   layer_types=["linear_attention", "sliding_attention", "full_attention"]), {}),
    "lara-mini-biases": ("LaraMini", dict(LARA, linear_num_key_heads=4, attention_bias=True, norm_topk_prob=False, tie_word_embeddings=True,
                                          sliding_window=6, layer_types=["sliding_attention", "linear_attention"]), {}),
    "olmoe": ("Olmoe", dict(num_experts=5, num_experts_per_tok=2, intermediate_size=12, norm_topk_prob=True), {}),
    "olmoe-biases": ("Olmoe", dict(num_experts=4, num_experts_per_tok=1, intermediate_size=12, attention_bias=True, num_key_value_heads=4,
                                   tie_word_embeddings=True, **rope("linear", factor=2.0)), {}),
    "granitemoe-swa": ("GraniteMoeSWA", dict(num_local_experts=5, num_experts_per_tok=2, intermediate_size=12, shared_intermediate_size=20,
                                             sliding_window=5, num_hidden_layers=3, embedding_multiplier=3.0, attention_multiplier=0.2,
                                             residual_multiplier=0.6, logits_scaling=4.0, layer_rope_theta=[0, 500.0, 500.0],
                                             layer_types=["full_attention", "sliding_attention", "sliding_attention"]), {}),
    "granitemoe-swa-plain": ("GraniteMoeSWA", dict(num_local_experts=3, num_experts_per_tok=1, intermediate_size=12, sliding_window=6,
                                                   attention_bias=True, tie_word_embeddings=True), {}),
    "llama-base": ("Llama", dict(tie_word_embeddings=True), dict(base=True)),
    "gemma3-images": ("Gemma3:Gemma3ForConditionalGeneration", dict(WINDOWS, head_dim=8, query_pre_attn_scalar=8), dict(
        vision=dict(VISION, model_type="siglip_vision_model"), outer=dict(mm_tokens_per_image=4))),
    "qwen3-5-images": ("Qwen3_5:Qwen3_5ForConditionalGeneration", dict(GDN, head_dim=16, rope_parameters=dict(
        rope_type="default", rope_theta=1000.0, partial_rotary_factor=0.5, mrope_section=[2, 1, 1])), dict(
        vision=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, patch_size=2, out_hidden_size=32,
                    num_position_embeddings=4))),
    "mistral3-images": ("Mistral3:Mistral3ForConditionalGeneration", dict(model_type="mistral", head_dim=8, sliding_window=5), dict(
        vision=dict(VISION, model_type="pixtral", head_dim=4), outer=dict(tie_word_embeddings=False))),
    "llava-images": ("Llava:LlavaForConditionalGeneration", dict(model_type="qwen2", use_sliding_window=True, sliding_window=5,
                                                               max_window_layers=1, tie_word_embeddings=True), dict(
        vision=dict(VISION, model_type="clip_vision_model", projection_dim=8))),
    # Classes with images leave out what the text model's own class does to its logits.
    "gemma3-images-capped": ("Gemma3:Gemma3ForConditionalGeneration", dict(
        WINDOWS, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=2.0), dict(
        vision=dict(VISION, model_type="siglip_vision_model"), outer=dict(mm_tokens_per_image=4))),
    "llava-images-granite": ("Llava:LlavaForConditionalGeneration", dict(
        model_type="granite", logits_scaling=4.0, embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.6), dict(
        vision=dict(VISION, model_type="clip_vision_model", projection_dim=8))),
    "llava-next-images": ("LlavaNext:LlavaNextForConditionalGeneration", dict(model_type="mistral", head_dim=8, sliding_window=5), dict(
        vision=dict(VISION, model_type="clip_vision_model", projection_dim=8))),
    "vipllava-images": ("VipLlava:VipLlavaForConditionalGeneration", dict(model_type="llama", attention_bias=True), dict(
        vision=dict(VISION, model_type="clip_vision_model", projection_dim=8))),
    "internvl-images": ("InternVL:InternVLForConditionalGeneration", dict(model_type="qwen3", head_dim=8), dict(
        vision=dict(VISION, model_type="internvl_vision", image_size=[4, 4], patch_size=[2, 2]))),
    "cohere2-images": ("Cohere2Vision:Cohere2VisionForConditionalGeneration", dict(
        WINDOWS, model_type="cohere2", logit_scale=0.25, head_dim=8, tie_word_embeddings=True), dict(
        vision=dict(VISION, model_type="siglip_vision_model"), outer=dict(alignment_intermediate_size=8))),
    "aya-images": ("AyaVision:AyaVisionForConditionalGeneration", dict(
        WINDOWS, model_type="cohere2", logit_scale=0.25, head_dim=8, tie_word_embeddings=True), dict(
        vision=dict(VISION, model_type="siglip_vision_model"))),
    "minimax-slopes": ("MiniMax", MINIMAX, dict(slopes=[1.5, 0.7, 2.0, 0.4])),
    "mamba2": ("Mamba2", MAMBA2, {}),
    "mamba2-groups": ("Mamba2", dict(MAMBA2, n_groups=4, tie_word_embeddings=True, use_conv_bias=False, use_bias=True,
                                     time_step_limit=(0.01, 0.5)), {}),
    "mamba2-stored-head": ("Mamba2", dict(MAMBA2, tie_word_embeddings=True), dict(head="apart")),
    "nemotron-h": ("NemotronH", dict(NEMOTRON, layers_block_type=["linear_attention", "mlp", "full_attention", "mlp"]), {}),
    "nemotron-h-biases": ("NemotronH", dict(
        NEMOTRON, layers_block_type=["mlp", "full_attention", "linear_attention"], n_groups=1, use_bias=True, mlp_bias=True,
        use_conv_bias=False, mlp_hidden_act="gelu", time_step_min=0.3), {}),
    "mamba": ("Mamba", dict(MAMBA1, tie_word_embeddings=True), {}),
    "mamba-biases": ("Mamba", dict(MAMBA1, use_bias=True, use_conv_bias=False, time_step_rank=5, expand=1, conv_kernel=3), {}),
    "falcon-mamba": ("FalconMamba", dict(MAMBA1, mixer_rms_eps=0.05), {}),
    "falcon-mamba-tied": ("FalconMamba", dict(MAMBA1, use_bias=True, tie_word_embeddings=True), {}),
    "jamba": ("Jamba", dict(JAMBA, num_hidden_layers=3, attn_layer_period=2), {}),
    "jamba-tied": ("Jamba", dict(JAMBA, mamba_proj_bias=True, mamba_conv_bias=False, mamba_dt_rank=5, tie_word_embeddings=True,
                                 num_key_value_heads=4), {}),
    "falcon-h1": ("FalconH1", dict(FALCON_H1, attention_in_multiplier=1.25, attention_out_multiplier=0.5, key_multiplier=0.75,
                                   embedding_multiplier=3.0, lm_head_multiplier=0.25, mlp_multipliers=[0.6, 1.5],
                                   ssm_multipliers=[0.5, 1.5, 2.0, 0.8, 1.2], ssm_in_multiplier=1.25, ssm_out_multiplier=0.7), {}),
    "falcon-h1-norms": ("FalconH1", dict(
        FALCON_H1, mamba_rms_norm=True, mamba_norm_before_gate=False, mamba_n_groups=2, mamba_proj_bias=True, projectors_bias=True,
        attention_bias=True, mlp_bias=True, mamba_conv_bias=False, tie_word_embeddings=True, key_multiplier=0.5, time_step_limit=(0.01, 0.5)), {}),
    "llama4": ("Llama4Text:Llama4", dict(LLAMA4, num_hidden_layers=3, no_rope_layers=[1, 1, 0], attention_chunk_size=5, floor_scale=4,
                                         attn_scale=0.3), {}),
    "llama4-plain": ("Llama4Text:Llama4", dict(
        LLAMA4, layer_types=["full_attention", "chunked_attention"], no_rope_layers=[1, 0], attention_chunk_size=7, use_qk_norm=False,
        attention_bias=True, attn_temperature_tuning=False, tie_word_embeddings=True, num_key_value_heads=4, **rope(
            "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)), {}),
    "llama4-experts": ("Llama4Text:Llama4", dict(LLAMA4, moe_layers=[1, 2], intermediate_size=20, num_local_experts=5, num_experts_per_tok=2, num_hidden_layers=3,
                                                 no_rope_layers=[1, 1, 0], attention_chunk_size=5, floor_scale=4, attn_scale=0.3), {}),
    "llama4-experts-one": ("Llama4Text:Llama4", dict(LLAMA4, moe_layers=None, interleave_moe_layer_step=1, intermediate_size=12, num_local_experts=4,
                                                     num_experts_per_tok=1, no_rope_layer_interval=2, attention_chunk_size=7, hidden_act="gelu"), {}),
    "llama4-images": ("Llama4:Llama4ForConditionalGeneration", dict(LLAMA4, no_rope_layer_interval=2, attention_chunk_size=6, floor_scale=5), dict(
        vision=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=4, patch_size=2,
                    vision_output_dim=8, projector_input_dim=8, projector_output_dim=8, pixel_shuffle_ratio=0.5),
        # The class raises on its own output (5.24: no image_outputs); its text model is what it runs.
        part="language_model")),
    "gpt-neo": ("GPTNeo", dict(GPT_NEO, attention_types=[[["global", "local"], 1]], window_size=5), {}),
    "gpt-neo-plain": ("GPTNeo", dict(GPT_NEO, num_layers=3, attention_types=[[["local"], 2], [["global"], 1]], window_size=23, intermediate_size=40,
                                     activation_function="relu", tie_word_embeddings=True), {}),
    "modernbert-decoder": ("ModernBertDecoder", dict(BERT, num_hidden_layers=3, local_attention=10, layer_types=[
        "full_attention", "sliding_attention", "full_attention"]), {}),
    "modernbert-decoder-biases": ("ModernBertDecoder", dict(
        BERT, local_attention=15, layer_types=["sliding_attention", "full_attention"], norm_bias=True, attention_bias=True, mlp_bias=True, decoder_bias=False,
        classifier_bias=True, classifier_activation="relu", hidden_activation="silu", tie_word_embeddings=False,
        **ropes(DEFAULT, dict(rope_type="linear", factor=2.0))), {}),
    "cohere-compass": ("CohereCompassText:CohereCompass", dict(WINDOWS, logit_scale=0.5, rope_parameters=dict(
        sliding_attention=dict(rope_type="default", rope_theta=100.0), full_attention=None)), {}),
    "cohere-compass-bases": ("CohereCompassText:CohereCompass", dict(
        layer_types=["full_attention", "sliding_attention"], sliding_window=7, attention_bias=True, tie_word_embeddings=True,
        rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=100.0),
                             full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=2.0))), {}),
    "beam": ("Beam", dict(EXPERTS, num_experts=6, n_group=3, topk_group=2, num_hidden_layers=3, head_dim=16, sliding_window=5, mlp_layer_types=[
        "dense", "sparse", "sparse"], layer_types=["sliding_attention", "full_attention", "sliding_attention"], final_logit_softcapping=2.0), {}),
    "beam-biases": ("Beam", dict(EXPERTS, n_group=1, topk_group=1, norm_topk_prob=False, head_dim=8, sliding_window=7, mlp_layer_types=["sparse", "dense"],
                                 layer_types=["full_attention", "sliding_attention"], attention_bias=True, tie_word_embeddings=True,
                                 final_logit_softcapping=None, rope_parameters=dict(
        sliding_attention=None, full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=2.0))), {}),
    "beam-bases": ("Beam", dict(EXPERTS, num_experts=8, n_group=2, topk_group=1, num_key_value_heads=4, head_dim=8, sliding_window=6,
                                **ropes(DEFAULT, YARN)), {}),
    "zaya": ("Zaya", dict(EXPERTS, num_experts_per_tok=1, router_hidden_size=10, num_hidden_layers=3, head_dim=8, sliding_window=5, layer_types=[
        "hybrid", "hybrid_sliding", "hybrid"], rope_parameters={kind: dict(rope_type="default", rope_theta=base, partial_rotary_factor=0.5)
                                                               for kind, base in (("hybrid", 1000.0), ("hybrid_sliding", 100.0))}), {}),
    "zaya-partial": ("Zaya", dict(EXPERTS, num_experts_per_tok=1, router_hidden_size=6, head_dim=8, sliding_window=5, layer_types=[
        "hybrid_sliding", "hybrid"], rope_parameters={kind: dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=share)
                                                      for kind, share in (("hybrid", 0.5), ("hybrid_sliding", 0.75))}), {}),
    "zaya-biases": ("Zaya", dict(EXPERTS, num_experts_per_tok=1, router_hidden_size=6, num_key_value_heads=1, head_dim=12, attention_bias=True,
                                 lm_head_bias=True, tie_word_embeddings=True, cca_time0=3, cca_time1=4, sliding_window=7, layer_types=[
        "hybrid_sliding"] * 2, rope_parameters=dict(hybrid_sliding=dict(rope_type="linear", rope_theta=100.0, factor=2.0))), {}),
    "phimoe": ("Phimoe", dict(num_local_experts=5, num_experts_per_tok=2, intermediate_size=12, router_jitter_noise=0.2, sliding_window=5,
                              attention_bias=True, lm_head_bias=True), {}),
    "phimoe-longrope": ("Phimoe", dict(rope("longrope", short_factor=[1.0, 1.3, 1.5, 2.0], long_factor=[1.5, 4.0, 5.0, 6.0], short_mscale=1.2, long_mscale=1.2,
                                            original_max_position_embeddings=16), num_local_experts=3, num_experts_per_tok=2, intermediate_size=12), {}),
    "phimoe-plain": ("Phimoe", dict(num_local_experts=3, num_experts_per_tok=2, intermediate_size=12, num_key_value_heads=4, hidden_act="gelu",
                                    tie_word_embeddings=True), {}),
    "moshi": ("Moshi", dict(sliding_window=5, ffn_dim=96, head_dim=12, intermediate_size=None), {}),
    "moshi-scaled": ("Moshi", dict(rope("linear", factor=2.0), ffn_dim=64, num_key_value_heads=4, hidden_act="gelu", intermediate_size=None,
                                   rms_norm_eps=1e-5), {}),
    "laguna": ("Laguna", dict(SHARED, num_experts=6, num_hidden_layers=3, head_dim=16, num_attention_heads_per_layer=[4, 6, 2], num_key_value_heads=2,
                              sliding_window=5, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
                              moe_router_logit_softcapping=0.7, moe_routed_scaling_factor=1.6), {}),
    "laguna-channels": ("Laguna", dict(
        SHARED, head_dim=8, gating="per-element", attention_bias=True, tie_word_embeddings=True, num_attention_heads_per_layer=[2, 8], sliding_window=7,
        layer_types=["sliding_attention", "full_attention"], mlp_layer_types=["sparse", "dense"], rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5), full_attention=dict(
                YARN, rope_theta=1000.0, partial_rotary_factor=0.75))), {}),
    # A window in the file, and no layer that has it.
    "laguna-full": ("Laguna", dict(SHARED, head_dim=8, sliding_window=5, num_key_value_heads=4), {}),
    "gemma4": ("Gemma4Text:Gemma4", dict(GEMMA4, num_hidden_layers=4, num_kv_shared_layers=2, use_double_wide_mlp=True, layer_types=[
        "sliding_attention", "full_attention", "sliding_attention", "full_attention"]), {}),
    "gemma4-experts": ("Gemma4Text:Gemma4", dict(
        GEMMA4, hidden_size=16, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1, global_head_dim=12, hidden_size_per_layer_input=4,
        num_hidden_layers=4, num_kv_shared_layers=2, use_double_wide_mlp=True, enable_moe_block=True, num_experts=5, top_k_experts=2, moe_intermediate_size=8,
        layer_types=["sliding_attention", "full_attention"] * 2), {}),
    "gemma4-unified": ("Gemma4UnifiedText:Gemma4Unified", dict(
        head_dim=8, global_head_dim=12, num_hidden_layers=3, attention_k_eq_v=True, num_global_key_value_heads=1, num_kv_shared_layers=1, sliding_window=5,
        use_bidirectional_attention="vision", layer_types=["full_attention", "sliding_attention", "full_attention"]), {}),
    "gemma4-dense": ("Gemma4Text:Gemma4", dict(
        GEMMA4, num_hidden_layers=3, hidden_size_per_layer_input=0, attention_k_eq_v=True, num_global_key_value_heads=1, final_logit_softcapping=3.0,
        attention_bias=True, tie_word_embeddings=False, sliding_window=7, layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=100.0), full_attention=dict(
            rope_type="proportional", partial_rotary_factor=0.5, rope_theta=1000.0))), {}),
    "gemma4-images": ("Gemma4:Gemma4ForConditionalGeneration", dict(
        GEMMA4, model_type="gemma4_text", num_hidden_layers=3, num_kv_shared_layers=1, final_logit_softcapping=3.0, layer_types=[
            "sliding_attention", "full_attention", "full_attention"]), dict(vision=dict(
                hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=4, patch_size=2,
                position_embedding_size=4, pooling_kernel_size=1))),
    "gemma4-unified-images": ("Gemma4Unified:Gemma4UnifiedForConditionalGeneration", dict(
        model_type="gemma4_unified_text", head_dim=8, hidden_size=16, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1, sliding_window=5,
        final_logit_softcapping=3.0, use_bidirectional_attention="vision", layer_types=["sliding_attention", "full_attention"],
        per_layer_config={"1": dict(head_dim=12)}), dict(
            vision=dict(patch_size=1, pooling_kernel_size=1, mm_embed_dim=8, mm_posemb_size=4, output_proj_dims=8),
            outer=dict(audio_config=dict(model_type="gemma4_unified_audio", audio_embed_dim=8)))),
    "gemma4-images-experts": ("Gemma4:Gemma4ForConditionalGeneration", dict(
        GEMMA4, model_type="gemma4_text", hidden_size=16, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1, global_head_dim=12,
        hidden_size_per_layer_input=0, num_hidden_layers=2, enable_moe_block=True, num_experts=4, top_k_experts=3, moe_intermediate_size=8, layer_types=[
            "sliding_attention", "full_attention"]), dict(vision=dict(
                hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=4, patch_size=2,
                position_embedding_size=4, pooling_kernel_size=1))),
    "mimo-v2-flash": ("MiMoV2Flash", dict(MIMO, num_hidden_layers=3, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
                                          sliding_window=5, num_key_value_heads=1), {}),
    "mimo-v2-flash-biases": ("MiMoV2Flash", dict(
        MIMO, attention_bias=True, tie_word_embeddings=True, n_group=2, topk_group=1, routed_scaling_factor=1.7, attention_value_scale=None, v_head_dim=20,
        sliding_window=7, layer_types=["sliding_attention", "full_attention"], mlp_layer_types=["sparse", "dense"], rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5), full_attention=dict(YARN, rope_theta=1000.0))), {}),
    "kolibri1": ("Kolibri1", dict(SHARED, num_experts=6, intermediate_size=None, num_hidden_layers=3, head_dim=16, sliding_window=5, layer_types=[
        "sliding_attention", "full_attention", "sliding_attention"]), {}),
    "kolibri1-windows": ("Kolibri1", dict(SHARED, intermediate_size=None, head_dim=8, sliding_window=7, norm_topk_prob=True, tie_word_embeddings=True,
                                          num_key_value_heads=4), {}),
    "dots1": ("Dots1", dict(DOTS, n_routed_experts=6, n_group=3, topk_group=2, num_hidden_layers=3, head_dim=16, sliding_window=5, first_k_dense_replace=1,
                            max_window_layers=1, routed_scaling_factor=1.6, norm_topk_prob=True), {}),
    "dots1-biases": ("Dots1", dict(DOTS, n_routed_experts=5, n_shared_experts=2, attention_bias=True, tie_word_embeddings=True, sliding_window=7, layer_types=[
        "full_attention", "sliding_attention"]), {}),
    "exaone-moe": ("ExaoneMoe", dict(EXPERTS, num_experts=6, n_group=3, topk_group=1, num_hidden_layers=3, head_dim=16, sliding_window=5, layer_types=[
        "sliding_attention", "full_attention", "sliding_attention"]), {}),
    "exaone-moe-plain": ("ExaoneMoe", dict(EXPERTS, num_shared_experts=2, norm_topk_prob=False, sliding_window=7, sliding_window_pattern=2, mlp_layer_types=[
        "sparse", "dense"], tie_word_embeddings=True, num_key_value_heads=4), {}),
    "cohere2-moe": ("Cohere2Moe", dict(num_experts=5, num_experts_per_tok=2, num_shared_experts=1, num_hidden_layers=3, head_dim=8, sliding_window=5, layer_types=[
        "full_attention", "sliding_attention", "full_attention"], mlp_layer_types=["dense", "sparse", "sparse"], prefix_dense_intermediate_size=40,
        logit_scale=0.5, attention_bias=True, rope_theta=1000.0), {}),
    "cohere2-moe-rms": ("Cohere2Moe", dict(num_experts=5, num_experts_per_tok=3, num_shared_experts=2, shared_expert_combination_strategy="sum", head_dim=16,
                                           expert_selection_fn="sigmoid", rms_norm_eps=1e-5, logit_scale=0.25, sliding_window=7, sliding_window_pattern=2,
                                           tie_word_embeddings=True), {}),
    "cohere2-moe-sigmoid": ("Cohere2Moe", dict(num_experts=4, num_experts_per_tok=2, expert_selection_fn="sigmoid", norm_topk_prob=False, head_dim=8,
                                               sliding_window=6, layer_types=["full_attention"] * 2, num_key_value_heads=4), {}),
    "inkling": ("InklingText:Inkling", dict(
        INKLING, num_hidden_layers=3, layer_types=["hybrid_sliding", "hybrid", "hybrid_sliding"], mlp_layer_types=["dense", "sparse", "sparse"],
        swa_num_attention_heads=6, swa_num_key_value_heads=3, head_dim=12, swa_head_dim=8, rel_extent=9, log_scaling_n_floor=6, log_scaling_alpha=0.4,
        unpadded_vocab_size=60), {}),
    "inkling-plain": ("InklingText:Inkling", dict(
        INKLING, local_layer_ids=[1], swa_num_attention_heads=4, swa_num_key_value_heads=2, head_dim=8, swa_head_dim=8, rel_extent=40, conv_kernel_size=3,
        n_shared_experts=1, hidden_act="gelu_pytorch_tanh", sliding_window_size=7), {}),
    "recurrent-gemma": ("RecurrentGemma", dict(num_hidden_layers=3, intermediate_size=96, attention_window_size=5, logits_soft_cap=2.0), {}),
    "recurrent-gemma-biases": ("RecurrentGemma", dict(
        block_types=["attention", "recurrent"], lru_width=48, attention_bias=True, conv1d_width=3, hidden_activation="silu", intermediate_size=72,
        attention_window_size=23, tie_word_embeddings=True, num_key_value_heads=4, rope_parameters=dict(
            rope_type="default", rope_theta=1000.0, partial_rotary_factor=0.25)), {}),
    "bailing-hybrid": ("BailingHybrid", dict(BAILING, first_k_dense_replace=1), {}),
    "bailing-hybrid-queries": ("BailingHybrid", dict(
        BAILING, q_lora_rank=10, attention_bias=True, kda_safe_gate=False, layer_types=["linear_attention", "full_attention"], num_hidden_layers=2,
        mlp_layer_types=["sparse", "dense"], n_group=1, topk_group=1, n_shared_experts=2, short_conv_kernel_size=3, tie_word_embeddings=True), {}),
    # Without tied embeddings Transformers ties no blocks either: each layer has its own.
    "zamba2": ("Zamba2", dict(ZAMBA2, tie_word_embeddings=True, num_mem_blocks=2, use_shared_attention_adapter=True, adapter_rank=6, use_mem_rope=True, mamba_ngroups=2,
                              rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=2.0)), {}),
    "zamba2-biases": ("Zamba2", dict(ZAMBA2, num_key_value_heads=2, adapter_rank=5, add_bias_linear=True, n_mamba_heads=8, time_step_min=0.3,
                                     layers_block_type=["hybrid", "linear_attention", "hybrid", "hybrid"], num_hidden_layers=4, num_mem_blocks=2), {}),
    "zamba": ("Zamba", dict(ZAMBA, tie_word_embeddings=True), {}),
    "zamba-biases": ("Zamba", dict(ZAMBA, num_key_value_heads=2, attention_head_dim=12, n_mamba_heads=4, mamba_proj_bias=True, mamba_conv_bias=False,
                                   mamba_dt_rank=5, hidden_act="silu", layers_block_type=["hybrid", "linear_attention", "hybrid"], num_hidden_layers=3), {}),
    "bamba": ("Bamba", dict(BAMBA, attention_bias=True, mlp_bias=True), {}),
    "bamba-groups": ("Bamba", dict(BAMBA, mamba_n_groups=2, mamba_conv_bias=False, mamba_proj_bias=True,
                                   attn_layer_indices=[0], tie_word_embeddings=True), {}),
    "granite-hybrid": ("GraniteMoeHybrid", dict(GRANITE_HYBRID, embedding_multiplier=3.0, attention_multiplier=0.2,
                                                residual_multiplier=0.6, logits_scaling=4.0), {}),
    "granite-hybrid-rope": ("GraniteMoeHybrid", dict(GRANITE_HYBRID, position_embedding_type="rope", mamba_n_groups=2,
                                                     layer_types=["full_attention", "linear_attention"],
                                                     tie_word_embeddings=True), {}),
}

# Made by name only, for test/data/hf-deep: so many delta rules that float32 itself is past the tolerance.
DEEP = {
    "gdn": ("Qwen3_5Text:Qwen3_5", dict(
        GDN, hidden_size=8, intermediate_size=8, num_hidden_layers=12, layer_types=["linear_attention"] * 12, head_dim=16,
        linear_num_value_heads=2, linear_value_head_dim=8, max_position_embeddings=128), dict(tokens=128, sequences=1, scale=2.0)),
}


def randomize(model, generator):
    """Weights of a size that lets every part of the model matter."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() >= 2 and "conv" not in name:
            p.data = noise / p.shape[-1] ** 0.5
        else:
            p.data = p.data + 0.3 * noise
        # XLSTM's gates begin where heads write next to nothing.
        if name.endswith("igate_preact.bias"):
            p.data = 4 * noise
    # Corrections of routers, which have no gradient.
    for name, buffer in model.named_buffers():
        if name.endswith("bias"):
            buffer.copy_(buffer + 0.2 * torch.randn(buffer.shape, generator=generator))
        # Gemma 4 stores a factor of each layer, which it does not train.
        if name.endswith("layer_scalar"):
            buffer.copy_(buffer + 0.3 * torch.randn(buffer.shape, generator=generator))
        # ZAYA's begin where no token is sent to none of the experts.
        if name.endswith("balancing_biases"):
            buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))


def expect(model, ids):
    results = {"input_ids": ids}
    has_attention = model.config.model_type not in ("mamba", "mamba2", "falcon_mamba", "xlstm")
    out = model(input_ids=ids, labels=ids, output_hidden_states=True, use_cache=False,
                **(dict(output_attentions=True) if has_attention else {}))
    out.loss.backward()
    results["logits"] = out.logits.detach()
    results["loss"] = out.loss.detach().reshape(1)
    for n, h in enumerate(out.hidden_states):
        results[f"hidden.{n}"] = h.detach()
    for n, a in enumerate(a for a in (getattr(out, "attentions", None) or ()) if a is not None and a.dim() == 4):
        results[f"attn.{n}"] = a[:1].detach()
    for name, p in model.named_parameters():
        if p.grad is not None and p.numel() > 0:
            results[f"gradnorm.{name}"] = p.grad.norm().reshape(1)
    return {k: v.contiguous().clone() for k, v in results.items()}


def store_head(folder, how, generator):
    """Beside a tied embedding, a head with other values ("apart"), or the head in place of the embedding ("only")."""
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    name = next(n for n in tensors if "embed" in n)
    weight = tensors[name]
    if how == "only":
        del tensors[name]
    tensors["lm_head.weight"] = weight if how == "only" else torch.randn(weight.shape, generator=generator) / weight.shape[-1] ** 0.5
    save_file(tensors, path, metadata={"format": "pt"})


def stack_experts(folder):
    """The experts of a projection as one tensor, as they are in memory."""
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    for at in sorted({n.split(".experts.")[0] for n in tensors if ".experts." in n}):
        count = len({n for n in tensors if n.startswith(at + ".experts.") and n.endswith("down_proj.weight")})
        take = lambda e, kind: tensors.pop(f"{at}.experts.{e}.{kind}_proj.weight")
        tensors[at + ".experts.gate_up_proj"] = torch.stack([torch.cat([take(e, "gate"), take(e, "up")]) for e in range(count)])
        tensors[at + ".experts.down_proj"] = torch.stack([take(e, "down") for e in range(count)])
    save_file(tensors, path, metadata={"format": "pt"})


def change_slopes(folder, factors):
    """Other slopes of Lightning attention, with the decays that follow from them."""
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    for name in [n for n in tensors if n.endswith("slope_rate")]:
        slopes = tensors[name] * torch.tensor(factors)[:, None, None]
        at = name.removesuffix("slope_rate")
        steps = torch.arange(tensors[at + "query_decay"].shape[1]) + 1
        between = (steps[:, None] - steps[None, :])[None, None]
        tensors[name] = slopes
        tensors[at + "query_decay"] = torch.exp(-slopes * steps[:, None])
        tensors[at + "key_decay"] = torch.exp(-slopes * (len(steps) - steps[:, None]))
        tensors[at + "diagonal_decay"] = torch.exp(torch.where(between >= 0, -slopes * between, float("-inf")))
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def make(folder, name):
    kind, fields, options = (MODELS | DEEP)[name]
    config_kind, model_kind = kind.split(":") if ":" in kind else (kind, kind)
    fields = {k: v for k, v in dict(SMALL, **fields).items() if v is not None or k not in SMALL}
    if "vision" in options:
        fields = dict(text_config=fields, vision_config=options["vision"], **options.get("outer", {}))
    config = getattr(tf, f"{config_kind}Config")(**fields)
    text = config.get_text_config()
    vocabulary = getattr(text, "unpadded_vocab_size", None) or text.vocab_size
    model_class = getattr(tf, model_kind if model_kind.endswith("Generation") else f"{model_kind}ForCausalLM")
    config._attn_implementation = "eager"
    seed = sum(map(ord, name))
    torch.manual_seed(seed)
    model = model_class(config).eval()
    randomize(model, torch.Generator().manual_seed(seed))
    for p in model.parameters():
        p.data *= options.get("scale", 1.0) if p.dim() == 2 else 1.0
    model.tie_weights()
    dtype = options.get("dtype", "float32")
    (model.model if options.get("base") else model).to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=options.get("shard", "5GB"))
    if "head" in options:
        store_head(folder, options["head"], torch.Generator().manual_seed(seed + 2))
    if options.get("stacked"):
        stack_experts(folder)
    if "slopes" in options:
        change_slopes(folder, options["slopes"])
    # What files hold is what is run, in float32.
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(3, vocabulary, (options.get("sequences", 2), options.get("tokens", 24)), generator=torch.Generator().manual_seed(seed + 1))
    if "part" in options:
        results = expect(getattr(model, options["part"]), ids)
        results = {k.replace("gradnorm.", f"gradnorm.{options['part']}."): v for k, v in results.items()}
    else:
        results = expect(model, ids)
    if name in DEEP:
        results = {k: v for k, v in results.items() if not k.startswith("hidden.") or k == f"hidden.{config.num_hidden_layers}"}
    save_file(results, os.path.join(folder, "expected.safetensors"))
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))


if __name__ == "__main__":
    out, *names = sys.argv[1:]
    for name in names or MODELS:
        try:
            make(os.path.join(out, name), name)
            print("made", name)
        except Exception as error:
            print("failed", name, json.dumps(str(error))[:300])
