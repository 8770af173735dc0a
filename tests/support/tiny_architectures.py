"""A tiny random configuration of every architecture whose status the documentation states."""

from typing import Any, Final

import transformers as hf

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}

_HALF: Final = SIZES["hidden_size"] // SIZES["num_attention_heads"] // 2
_FOUR: Final = SIZES | {"num_hidden_layers": 4}
_NO_ROPE_SIZES: Final = {k: v for k, v in SIZES.items() if k != "head_dim"}
_TOKENS: Final = {k: SIZES[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
_EXPERTS: Final = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MANY: Final = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_GPT: Final = {
    "vocab_size": 300,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 512,
    "n_inner": 48,
    "initializer_range": 0.25,
    **_TOKENS,
}
_MAMBA2: Final = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
_LINEAR: Final = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
}
_LAST_FULL: Final = ["linear_attention", "linear_attention", "linear_attention", "full_attention"]
_LATENT: Final = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_GRANITE: Final = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.3,
    "logits_scaling": 2.0,
}
_SHARED_GEMMA: Final = SIZES | {"num_hidden_layers": 4, "sliding_window": 256}
_GEMMA_LAYERS: Final = [
    "sliding_attention",
    "full_attention",
    "sliding_attention",
    "full_attention",
]


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in names}


# By the family's name as people write it; made by a call, as some configurations are refused.
TINY: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "Llama": ("LlamaConfig", SIZES | {"tie_word_embeddings": True}),
    "Llama 4 (text)": (
        "Llama4TextConfig",
        _FOUR
        | {
            "intermediate_size_mlp": 48,
            "attention_chunk_size": 32,
            "num_local_experts": 2,
            "interleave_moe_layer_step": 2,
        },
    ),
    "Mistral": ("MistralConfig", SIZES | {"sliding_window": 24}),
    "Ministral": ("MinistralConfig", SIZES | {"sliding_window": 24}),
    "Ministral 3": ("Ministral3Config", SIZES),
    "Mixtral": ("MixtralConfig", SIZES | _EXPERTS),
    "Qwen 2": ("Qwen2Config", SIZES),
    "Qwen 2 MoE": (
        "Qwen2MoeConfig",
        SIZES | _MANY | {"shared_expert_intermediate_size": 24},
    ),
    "Qwen 3": ("Qwen3Config", SIZES),
    "Qwen 3 MoE": ("Qwen3MoeConfig", SIZES | _MANY),
    "Qwen3-Next": (
        "Qwen3NextConfig",
        _FOUR | _LINEAR | _MANY | {"shared_expert_intermediate_size": 24},
    ),
    "Qwen3.5": ("Qwen3_5TextConfig", _FOUR | _LINEAR | {"layer_types": _LAST_FULL}),
    "Qwen3.5 MoE": (
        "Qwen3_5MoeTextConfig",
        _FOUR
        | _LINEAR
        | _MANY
        | {"shared_expert_intermediate_size": 24, "layer_types": _LAST_FULL},
    ),
    "Gemma": ("GemmaConfig", SIZES),
    "Gemma 2": (
        "Gemma2Config",
        SIZES | {"query_pre_attn_scalar": 8, "sliding_window": 256},
    ),
    "Gemma 3 (text)": ("Gemma3TextConfig", SIZES | {"sliding_window": 256}),
    "Gemma 3n (text)": (
        "Gemma3nTextConfig",
        _SHARED_GEMMA
        | {
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "layer_types": _GEMMA_LAYERS,
            "laurel_rank": 4,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    "Gemma 4 (text)": (
        "Gemma4TextConfig",
        _SHARED_GEMMA
        | {
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "layer_types": _GEMMA_LAYERS,
            "global_head_dim": 16,
        },
    ),
    "Gemma 4 (text), shared keys and values": (
        "Gemma4TextConfig",
        _SHARED_GEMMA
        | {
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 2,
            "layer_types": _GEMMA_LAYERS,
            "global_head_dim": 16,
        },
    ),
    "Gemma 4 (text), per-layer inputs": (
        "Gemma4TextConfig",
        _SHARED_GEMMA
        | {
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "layer_types": _GEMMA_LAYERS,
            "global_head_dim": 16,
        },
    ),
    "Gemma 4 (text), experts": (
        "Gemma4TextConfig",
        _SHARED_GEMMA
        | {
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "layer_types": _GEMMA_LAYERS,
            "global_head_dim": 16,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 24,
        },
    ),
    "VaultGemma": ("VaultGemmaConfig", SIZES | {"sliding_window": 256}),
    "RecurrentGemma": (
        "RecurrentGemmaConfig",
        _without(SIZES, "max_position_embeddings", "initializer_range", "head_dim")
        | {"lru_width": 32, "attention_window_size": 64, "w_init_variance_scale": 0.3},
    ),
    "Phi": ("PhiConfig", _NO_ROPE_SIZES),
    "Phi-3": ("Phi3Config", SIZES),
    "Phi-3, long rope": (
        "Phi3Config",
        SIZES
        | {
            "original_max_position_embeddings": 96,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * _HALF,
                "long_factor": [4.0] * _HALF,
                "original_max_position_embeddings": 96,
            },
        },
    ),
    "Phi-MoE": ("PhimoeConfig", _NO_ROPE_SIZES | _EXPERTS),
    "GPT-2": ("GPT2Config", _GPT),
    "GPT-J": ("GPTJConfig", _GPT | {"rotary_dim": 4}),
    "GPT-Neo": (
        "GPTNeoConfig",
        _without(_NO_ROPE_SIZES, "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        | {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    ),
    "GPT-NeoX": ("GPTNeoXConfig", _without(_NO_ROPE_SIZES, "num_key_value_heads")),
    "GPT-BigCode": ("GPTBigCodeConfig", _GPT),
    "GPT-OSS": (
        "GptOssConfig",
        _FOUR | _EXPERTS | {"sliding_window": 64},
    ),
    "CodeGen": ("CodeGenConfig", _GPT | {"rotary_dim": 4}),
    "OpenAI GPT": ("OpenAIGPTConfig", _without(_GPT, "n_inner")),
    "OPT": (
        "OPTConfig",
        {
            "vocab_size": 300,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "init_std": 0.25,
            **_TOKENS,
        },
    ),
    "BLOOM": (
        "BloomConfig",
        {
            "vocab_size": 300,
            "hidden_size": 32,
            "n_layer": 3,
            "n_head": 4,
            "initializer_range": 0.25,
            **_TOKENS,
        },
    ),
    "MPT": (
        "MptConfig",
        {
            "vocab_size": 300,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 3,
            "max_seq_len": 256,
            "expansion_ratio": 2,
            "initializer_range": 0.25,
        },
    ),
    "Falcon": ("FalconConfig", _NO_ROPE_SIZES | {"alibi": False, "multi_query": True}),
    "Falcon, new decoder": (
        "FalconConfig",
        _NO_ROPE_SIZES | {"alibi": False, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "Falcon-H1": (
        "FalconH1Config",
        SIZES | _MAMBA2 | {"mamba_d_ssm": 64, "mamba_rms_norm": True},
    ),
    "Falcon-Mamba": (
        "FalconMambaConfig",
        {
            "vocab_size": 300,
            "hidden_size": 32,
            "state_size": 8,
            "num_hidden_layers": 3,
            "time_step_rank": 4,
            **_TOKENS,
        },
    ),
    "Mamba": (
        "MambaConfig",
        {
            "vocab_size": 300,
            "hidden_size": 32,
            "state_size": 8,
            "num_hidden_layers": 3,
            "time_step_rank": 4,
            **_TOKENS,
        },
    ),
    "Mamba 2": (
        "Mamba2Config",
        {
            "vocab_size": 300,
            "hidden_size": 32,
            "state_size": 8,
            "num_hidden_layers": 3,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 16,
            **_TOKENS,
        },
    ),
    "Jamba": (
        "JambaConfig",
        _without(_NO_ROPE_SIZES, "num_hidden_layers")
        | {
            "num_hidden_layers": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "Bamba": ("BambaConfig", SIZES | _MAMBA2 | {"attn_layer_indices": [1]}),
    "Zamba2": (
        "Zamba2Config",
        _without(_NO_ROPE_SIZES, "num_hidden_layers")
        | {
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
            "mamba_d_state": 8,
            "mamba_headdim": 8,
            "mamba_ngroups": 1,
            "n_mamba_heads": 8,
            "chunk_size": 16,
            "num_mem_blocks": 1,
            "adapter_rank": 4,
        },
    ),
    "Nemotron": ("NemotronConfig", SIZES),
    "Nemotron-H": (
        "NemotronHConfig",
        _without(SIZES, "num_hidden_layers")
        | {
            "layers_block_type": ["mamba", "attention", "mlp", "mamba"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 16,
        },
    ),
    "Granite": ("GraniteConfig", SIZES | _GRANITE),
    "Granite MoE": ("GraniteMoeConfig", SIZES | _EXPERTS | _GRANITE),
    "Granite MoE, shared expert": (
        "GraniteMoeSharedConfig",
        SIZES | _EXPERTS | _GRANITE | {"shared_intermediate_size": 24},
    ),
    "Granite hybrid": (
        "GraniteMoeHybridConfig",
        SIZES
        | _GRANITE
        | _MAMBA2
        | {
            "num_local_experts": 0,
            "position_embedding_type": "nope",
            "shared_intermediate_size": 48,
            "layer_types": ["mamba", "attention", "mamba"],
        },
    ),
    "Granite hybrid, MoE": (
        "GraniteMoeHybridConfig",
        SIZES
        | _GRANITE
        | _MAMBA2
        | _EXPERTS
        | {
            "position_embedding_type": "rope",
            "shared_intermediate_size": 48,
            "layer_types": ["mamba", "attention", "mamba"],
        },
    ),
    "LFM2": (
        "Lfm2Config",
        _FOUR | {"block_ff_dim": 48, "layer_types": ["conv", "full_attention"] * 2},
    ),
    "LFM2 MoE": (
        "Lfm2MoeConfig",
        _FOUR | _MANY | {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    ),
    "RWKV 4": (
        "RwkvConfig",
        {
            "vocab_size": 300,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "context_length": 256,
            "bos_token_id": 256,
            "eos_token_id": 257,
        },
    ),
    "OLMo": ("OlmoConfig", SIZES),
    "OLMo 2": ("Olmo2Config", SIZES),
    "OLMo 3": ("Olmo3Config", _FOUR | {"sliding_window": 64}),
    "OLMo hybrid": ("OlmoHybridConfig", _FOUR | _LINEAR | {"layer_types": _LAST_FULL}),
    "OLMoE": ("OlmoeConfig", SIZES | _MANY),
    "FlexOlmo": ("FlexOlmoConfig", SIZES | _MANY),
    "Cohere": ("CohereConfig", SIZES),
    "Cohere 2": ("Cohere2Config", _FOUR | {"sliding_window": 64}),
    "StableLM": ("StableLmConfig", SIZES),
    "StarCoder 2": ("Starcoder2Config", SIZES | {"sliding_window": 256}),
    "SmolLM 3": ("SmolLM3Config", SIZES),
    "GLM": ("GlmConfig", SIZES),
    "GLM 4": ("Glm4Config", SIZES),
    "GLM 4 MoE": ("Glm4MoeConfig", SIZES | _MANY | {"n_routed_experts": 4, "n_group": 1}),
    "DeepSeek 2": (
        "DeepseekV2Config",
        _without(SIZES, "head_dim", "num_key_value_heads")
        | _LATENT
        | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
        | {"first_k_dense_replace": 1, "topk_method": "greedy", "num_key_value_heads": 4},
    ),
    "DeepSeek 3": (
        "DeepseekV3Config",
        _without(SIZES, "head_dim")
        | _LATENT
        | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
        | {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "num_key_value_heads": 4},
    ),
    "Exaone 4": ("Exaone4Config", _FOUR | {"sliding_window": 64, "sliding_window_pattern": 4}),
    "Ernie 4.5": ("Ernie4_5Config", SIZES),
    "Ernie 4.5 MoE": (
        "Ernie4_5_MoeConfig",
        SIZES | {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24},
    ),
    "Arcee": ("ArceeConfig", SIZES),
    "Apertus": ("ApertusConfig", SIZES),
    "Seed-OSS": ("SeedOssConfig", SIZES),
    "HunYuan": ("HunYuanDenseV1Config", SIZES),
    "Helium": ("HeliumConfig", SIZES),
    "MiniMax": (
        "MiniMaxConfig",
        SIZES
        | _EXPERTS
        | {"layer_types": ["linear_attention", "full_attention"] * 2}
        | {"num_hidden_layers": 4, "block_size": 16},
    ),
    "MiniMax M2": ("MiniMaxM2Config", SIZES | _EXPERTS),
    "DiffLlama": ("DiffLlamaConfig", SIZES),
    "Doge": ("DogeConfig", SIZES),
    "CWM": ("CwmConfig", SIZES | {"sliding_window": 64}),
    "JetMoE": (
        "JetMoeConfig",
        _without(SIZES, "head_dim", "num_attention_heads")
        | {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "BitNet": ("BitNetConfig", SIZES),
    "XGLM": (
        "XGLMConfig",
        {
            "vocab_size": 300,
            "d_model": 32,
            "ffn_dim": 48,
            "num_layers": 3,
            "attention_heads": 4,
            "max_position_embeddings": 512,
            "init_std": 0.25,
            **_TOKENS,
        },
    ),
    "nanochat": ("NanoChatConfig", SIZES),
}


def tiny_config(family: str) -> Any:
    """A family's tiny configuration."""
    name, values = TINY[family]
    return getattr(hf, name)(**values)
