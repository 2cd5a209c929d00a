# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
OpenVLA-OFT written once more, as plainly as possible and in float64, as a reference for tests.

It reads stored tensors by their official names and shares no code with the runtime. The golden
L1 cases hold it to the official numbers; FiLM and diffusion have no goldens and are held to it.
"""

import math

import torch
from torch.nn import functional


def linear(x, weights, name):
    bias = weights.get(f'{name}.bias')
    return x @ weights[f'{name}.weight'].T + (0 if bias is None else bias)


def layer_norm(x, weights, name, eps):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return ((x - mean) / (variance + eps).sqrt() * weights[f'{name}.weight']
            + weights[f'{name}.bias'])


def attend(query, key, value):
    """Attend without a mask; each is (tokens, heads, head)."""
    scores = torch.einsum('qhd,khd->hqk', query, key) / math.sqrt(query.shape[-1])
    return torch.einsum('hqk,khd->qhd', scores.softmax(-1), value).flatten(1)


def tower(weights, prefix, config, pixels, film=None, language=None):
    """Run one vision tower, (3, S, S) to (patches, dim)."""
    w = {key.removeprefix(prefix): value for key, value in weights.items()
         if key.startswith(prefix)}
    dim, heads = config['embed_dim'], config['num_heads']
    x = functional.conv2d(pixels[None], w['patch_embed.proj.weight'], w['patch_embed.proj.bias'],
                          stride=config['patch_size'])[0].flatten(1).T
    first = [w[name][0] for name in ('cls_token', 'reg_token') if name in w]
    if config.get('no_embed_class'):
        x = torch.cat([*first, x + w['pos_embed'][0]])
    else:
        x = torch.cat([*first, x]) + w['pos_embed'][0]
    for i in range(config['depth'] - 1):
        block = f'blocks.{i}'
        qkv = linear(layer_norm(x, w, f'{block}.norm1', 1e-6), w, f'{block}.attn.qkv')
        heads_of = qkv.view(len(x), 3, heads, dim // heads)
        update = linear(attend(*heads_of.unbind(1)), w, f'{block}.attn.proj')
        x = x + update * w.get(f'{block}.ls1.scale_factor', 1.0)
        if film is not None:
            scale = linear(language, film, f'{prefix}{block}.scale')
            x = x * (1 + scale) + linear(language, film, f'{prefix}{block}.shift')
        update = functional.gelu(linear(layer_norm(x, w, f'{block}.norm2', 1e-6), w,
                                        f'{block}.mlp.fc1'))
        x = x + linear(update, w, f'{block}.mlp.fc2') * w.get(f'{block}.ls2.scale_factor', 1.0)
    return x[sum(len(token) for token in first):]


def rms_norm(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turn(x):
    """Rotate (tokens, heads, head) by position."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(len(x), dtype=x.dtype)[:, None, None] * frequency
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def llama(weights, config, x):
    """Run the language model with bidirectional attention, (tokens, hidden)."""
    heads = config['num_attention_heads']
    for i in range(config['num_hidden_layers']):
        layer = f'language_model.model.layers.{i}'
        normed = rms_norm(x, weights[f'{layer}.input_layernorm.weight'])
        query, key, value = (
            linear(normed, weights, f'{layer}.self_attn.{name}_proj').view(len(x), heads, -1)
            for name in 'qkv')
        x = x + linear(attend(turn(query), turn(key), value), weights, f'{layer}.self_attn.o_proj')
        normed = rms_norm(x, weights[f'{layer}.post_attention_layernorm.weight'])
        gate = functional.silu(linear(normed, weights, f'{layer}.mlp.gate_proj'))
        x = x + linear(gate * linear(normed, weights, f'{layer}.mlp.up_proj'), weights,
                       f'{layer}.mlp.down_proj')
    return rms_norm(x, weights['language_model.model.norm.weight'])


def mlp(x, weights, name=''):
    return linear(functional.gelu(linear(x, weights, f'{name}fc1')), weights, f'{name}fc2')


def head(hidden, weights, prefix):
    """Run the residual network of an action head, (T, D·hidden) to (T, D)."""
    w = {key.removeprefix(prefix): value for key, value in weights.items()}
    x = linear(layer_norm(hidden, w, 'layer_norm1', 1e-5), w, 'fc1').relu()
    for i in range(2):
        ffn = f'mlp_resnet_blocks.{i}.ffn'
        x = x + linear(layer_norm(x, w, f'{ffn}.0', 1e-5), w, f'{ffn}.1').relu()
    return linear(layer_norm(x, w, 'layer_norm2', 1e-5), w, 'fc2')


class PlainOft:
    """The whole model, for one observation."""

    def __init__(self, spec, weights, parts, film=None):
        self.spec, self.film = spec, film
        self.weights = {key: value.double() for key, value in weights.items()}
        self.parts = {name: {key: value.double() for key, value in part.items()}
                      for name, part in parts.items()}
        self.table = self.weights['language_model.model.embed_tokens.weight']

    def visual(self, pixels, input_ids, proprio):
        """Tokens between BOS and the text: all images, then the state."""
        language = torch.cat([self.table[input_ids], self.table[2:3]]).mean(0)
        config, tokens = self.spec['config'], []
        for image in torch.as_tensor(pixels).double():
            features = [
                tower(self.weights, f'vision_backbone.{name}.', self.spec['tiny_timm'][timm],
                      part, self.film, language)
                for name, timm, part in zip(('featurizer', 'fused_featurizer'),
                                            config['timm_model_ids'], image.split(3))]
            x = functional.gelu(linear(torch.cat(features, 1), self.weights, 'projector.fc1'))
            x = functional.gelu(linear(x, self.weights, 'projector.fc2'))
            tokens.append(linear(x, self.weights, 'projector.fc3'))
        if proprio is not None:
            tokens.append(mlp(torch.as_tensor(proprio).double()[None],
                              self.parts['proprio_projector']))
        return torch.cat(tokens)

    def hidden(self, visual, input_ids, actions):
        text = self.table[input_ids]
        sequence = torch.cat([text[:1], visual, text[1:], actions, self.table[2:3]])
        out = llama(self.weights, self.spec['config']['text_config'], sequence)
        first = len(visual) + len(text) - 1
        return out[first:first + len(actions)]

    def regress(self, pixels, input_ids, proprio, shape):
        visual = self.visual(pixels, input_ids, proprio)
        zeros = torch.zeros(shape[0] * shape[1], self.table.shape[1], dtype=torch.float64)
        hidden = self.hidden(visual, input_ids, zeros)
        return head(hidden.reshape(shape[0], -1), self.parts['action_head'], 'model.')

    def diffuse(self, pixels, input_ids, proprio, noise):
        """DDIM, 50 steps, each beta of the squared cosine at most 0.999, clean clipped to 1."""
        visual = self.visual(pixels, input_ids, proprio)
        time = torch.arange(51, dtype=torch.float64) / 50
        power = ((time + 0.008) / 1.008 * math.pi / 2).cos() ** 2
        kept = (1 - (1 - power[1:] / power[:-1]).clamp(max=0.999)).cumprod(0)
        width = self.table.shape[1]
        x = noise.double()
        for step in range(49, -1, -1):
            rate = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64)
                               / (width // 2 - 1)) * step
            token = torch.cat([rate.sin(), rate.cos()])[None]
            actions = mlp(x.reshape(-1, 1), self.parts['noisy_action_projector'])
            hidden = self.hidden(torch.cat([visual, token]), input_ids, actions)
            error = head(hidden.reshape(len(x), -1), self.parts['action_head'],
                         'noise_predictor.mlp_resnet.')
            before = kept[step - 1] if step else torch.tensor(1.0, dtype=torch.float64)
            clean = ((x - (1 - kept[step]).sqrt() * error) / kept[step].sqrt()).clamp(-1, 1)
            x = before.sqrt() * clean + (1 - before).sqrt() * error
        return x
