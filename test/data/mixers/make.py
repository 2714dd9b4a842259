"""Recurrent mixers of Transformers on random input, one safetensors file each: input x, output y, and the weights by their names.

    pip install torch transformers safetensors numpy
    python make.py

Weights are random numbers rounded to float32; the mixers run in float64 where their code allows it.
"""

import torch
from safetensors.torch import save_file
from transformers import (
    BambaConfig,
    KimiLinearConfig,
    Lfm2Config,
    Mamba2Config,
    MiniMaxConfig,
    OlmoHybridConfig,
    Qwen3NextConfig,
)
from transformers.models.bamba.modeling_bamba import BambaMixer
from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearDeltaAttention
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.minimax.modeling_minimax import MiniMaxLightningAttention
from transformers.models.olmo_hybrid.modeling_olmo_hybrid import OlmoHybridGatedDeltaNet
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

D, T = 12, 37
FOUR = dict(num_hidden_layers=4, layer_types=["linear_attention"] * 3 + ["full_attention"])


def mamba2():
    config = Mamba2Config(
        hidden_size=D, num_heads=6, head_dim=4, expand=2, state_size=5, n_groups=2, conv_kernel=4, chunk_size=8,
        num_hidden_layers=1, use_bias=True, time_step_limit=(0.05, 1.5),
    )
    return Mamba2Mixer(config, 0), {}


def bamba():
    config = BambaConfig(
        hidden_size=D, mamba_n_heads=6, mamba_d_head=4, mamba_expand=2, mamba_d_state=5, mamba_n_groups=1,
        mamba_d_conv=3, mamba_chunk_size=8, num_attention_heads=2, num_key_value_heads=2, num_hidden_layers=1,
    )
    return BambaMixer(config, 0), {}


def minimax(layer):
    config = MiniMaxConfig(
        hidden_size=D, num_attention_heads=3, num_key_value_heads=3, head_dim=4, block_size=8, **FOUR
    )
    return MiniMaxLightningAttention(config, layer), dict(position_embeddings=None, attention_mask=None)


def delta(config_class, mixer_class, **more):
    config = config_class(
        hidden_size=D, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=4,
        linear_value_head_dim=6, linear_conv_kernel_dim=4, num_attention_heads=2, num_key_value_heads=2, head_dim=4,
        **FOUR, **more,
    )
    return mixer_class(config, 0), {}


def kimi():
    config = KimiLinearConfig(
        hidden_size=D, linear_num_heads=3, linear_head_dim=4, linear_conv_kernel_dim=4, num_attention_heads=2, **FOUR
    )
    return KimiLinearDeltaAttention(config, 0), {}


def lfm2(width, bias):
    config = Lfm2Config(
        hidden_size=D, num_attention_heads=3, num_key_value_heads=3, num_hidden_layers=1, conv_L_cache=width,
        conv_bias=bias, layer_types=["conv"],
    )
    return Lfm2ShortConv(config, 0), {}


MIXERS = {
    "mamba2": mamba2,
    "bamba": bamba,
    "minimax": lambda: minimax(1),
    "qwen3_next": lambda: delta(Qwen3NextConfig, Qwen3NextGatedDeltaNet),
    "olmo_hybrid": lambda: delta(OlmoHybridConfig, OlmoHybridGatedDeltaNet, linear_allow_neg_eigval=True),
    "kimi_linear": kimi,
    "lfm2": lambda: lfm2(3, False),
    "lfm2_bias": lambda: lfm2(4, True),
}

for seed, (name, make) in enumerate(MIXERS.items()):
    torch.manual_seed(seed)
    mixer, arguments = make()
    with torch.no_grad():
        for key, p in mixer.named_parameters():
            spread = 1.0 if p.ndim == 1 else 0.5
            p.copy_(spread * torch.randn_like(p))
            if key.endswith("norm.weight"):
                p.add_(1.0)
        x = torch.randn(2, T, D)
        y = mixer.double().eval()(x.double(), **arguments)
        y = y[0] if isinstance(y, tuple) else y
    weights = {key: p.detach().float().contiguous() for key, p in mixer.named_parameters()}
    save_file({"x": x, "y": y.float().contiguous(), **weights}, f"{name}.safetensors")
    print(name, float(y.abs().mean()), {k: list(v.shape) for k, v in weights.items()})
