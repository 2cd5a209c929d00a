# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The language model gives the logits of transformers, for sizes and options of the format."""

import pytest

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

from vla_ros.model.attention import attend_eager  # noqa: E402, I100
from vla_ros.model.attention import attend_sdpa  # noqa: E402
from vla_ros.model.config import LlamaConfig  # noqa: E402
from vla_ros.model.llama import Llama  # noqa: E402

CONFIGS = {
    'plain': LlamaConfig(97, 64, 160, 3, 4),
    'grouped queries': LlamaConfig(97, 64, 160, 2, 4, num_key_value_heads=2),
    'own head size': LlamaConfig(97, 64, 160, 2, 4, head_dim=24),
    'tied head': LlamaConfig(97, 64, 160, 2, 4, tie_word_embeddings=True),
    'other constants': LlamaConfig(97, 64, 160, 2, 4, rms_norm_eps=1e-3, rope_theta=500.0),
}


def reference(config):
    """Build transformers' model with random weights."""
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size, num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads, num_key_value_heads=config.kv_heads,
        head_dim=config.head_size, rms_norm_eps=config.rms_norm_eps,
        rope_parameters={'rope_type': 'default', 'rope_theta': config.rope_theta},
        tie_word_embeddings=config.tie_word_embeddings, initializer_range=0.3)).eval()


def our_model_of(model, config, attend):
    """Build ours with the same weights."""
    llama = Llama(config, attend)
    state = {name.removeprefix('model.'): value for name, value in model.state_dict().items()}
    for layer in range(config.num_hidden_layers):
        attention, mlp = f'layers.{layer}.self_attn', f'layers.{layer}.mlp'
        for fused, parts in ((f'{attention}.qkv_proj', ['q_proj', 'k_proj', 'v_proj']),
                             (f'{mlp}.gate_up_proj', ['gate_proj', 'up_proj'])):
            prefix = fused.rsplit('.', 1)[0]
            state[f'{fused}.weight'] = torch.cat(
                [state.pop(f'{prefix}.{part}.weight') for part in parts])
    if config.tie_word_embeddings:
        state.pop('lm_head.weight')
    llama.load_state_dict(state)
    return llama.eval()


@pytest.mark.parametrize('attend', [attend_sdpa, attend_eager], ids=['sdpa', 'eager'])
@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
@torch.inference_mode()
def test_logits_equal_those_of_transformers_for_a_sequence_in_pieces(config, attend):
    model = reference(config)
    llama = our_model_of(model, config, attend)
    ids = torch.randint(config.vocab_size, (1, 20))
    expected = model(ids).logits
    cache, rotary = llama.allocate_cache(24), llama.rotary_table(24)
    # one piece, then several tokens behind a filled cache, then one at a time
    pieces = [(0, 12), (12, 17), (17, 18), (18, 19), (19, 20)]
    hidden = [llama(llama.embed_tokens(ids[:, start:end]), rotary, cache, start)
              for start, end in pieces]
    torch.testing.assert_close(llama.logits(torch.cat(hidden, 1)), expected,
                               rtol=1e-4, atol=1e-4)
