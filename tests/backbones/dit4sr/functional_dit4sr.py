"""DiT4SR's forward pass a second time, as plain functions of a state dict. Written from the paper's and the released
code's description, token by token where the class works on whole streams; shares no code with the package."""

import math

import torch
import torch.nn.functional as F


def forward(state, config, noisy, lr_latent, text, pooled, timestep, key, scale):
    """v (B, C, H, W); `state` has the released names, `config` the constructor's arguments."""
    heads, patch = config["num_attention_heads"], config["patch_size"]
    dim = heads * config["attention_head_dim"]
    h, w = noisy.shape[2] // patch, noisy.shape[3] // patch

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def modulation(name, temb, parts):
        return [part[:, None] for part in linear(F.silu(temb), f"{name}.linear").chunk(parts, dim=1)]

    def norm(x):
        return F.layer_norm(x, (dim,), eps=1e-6)

    def rms(x, name):
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.weight"]

    def split(x):
        return x.reshape(len(x), -1, heads, dim // heads)

    def attend(queries, keys, values):
        scores = torch.einsum("bqhd,bkhd->bhqk", queries, keys) / math.sqrt(dim // heads)
        return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), values).reshape(len(queries), -1, dim)

    def attention(at, x, lr, c):
        count = x.shape[1]
        key_x = rms(split(linear(x, f"{at}.to_k")), f"{at}.norm_k")
        if key == "released":
            key_l = rms(key_x, f"{at}.norm_k")
        else:
            key_l = rms(split(linear(linear(lr, f"{at}.to_k"), f"{at}.to_k_control")), f"{at}.norm_k")
        query_l = linear(linear(lr, f"{at}.to_q"), f"{at}.to_q_control")
        queries = [rms(split(q), f"{at}.norm_q") for q in (linear(x, f"{at}.to_q"), query_l)]
        keys = [key_x, key_l]
        values = [split(linear(x, f"{at}.to_v")), split(linear(linear(lr, f"{at}.to_v"), f"{at}.to_v_control"))]
        if c is not None:
            queries.append(rms(split(linear(c, f"{at}.add_q_proj")), f"{at}.norm_added_q"))
            keys.append(rms(split(linear(c, f"{at}.add_k_proj")), f"{at}.norm_added_k"))
            values.append(split(linear(c, f"{at}.add_v_proj")))
        out = attend(torch.cat(queries, 1), torch.cat(keys, 1), torch.cat(values, 1))
        out_x = linear(out[:, :count], f"{at}.to_out.0")
        out_l = linear(out[:, count : 2 * count] + lr, f"{at}.to_out_control")
        return out_x, out_l, out[:, 2 * count :]

    def embed(z):
        x = F.conv2d(z, state["pos_embed.proj.weight"], state["pos_embed.proj.bias"], stride=patch)
        side = config["pos_embed_max_size"]
        codes = state["pos_embed.pos_embed"].reshape(side, side, dim)
        top, left = (side - h) // 2, (side - w) // 2
        return x.flatten(2).transpose(1, 2) + codes[top : top + h, left : left + w].reshape(1, h * w, dim)

    frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    angles = timestep[:, None] * frequencies
    temb = torch.cat([angles.cos(), angles.sin()], dim=1)
    temb = linear(
        F.silu(linear(temb, "time_text_embed.timestep_embedder.linear_1")), "time_text_embed.timestep_embedder.linear_2"
    )
    pool = linear(
        F.silu(linear(pooled, "time_text_embed.text_embedder.linear_1")), "time_text_embed.text_embedder.linear_2"
    )
    temb = temb + pool
    x, lr, c = embed(noisy), embed(lr_latent), linear(text, "context_embedder")

    for i in range(config["num_layers"]):
        block, last = f"transformer_blocks.{i}", i == config["num_layers"] - 1
        dual = i in config["dual_attention_layers"]
        shift, scale1, gate, shift2, scale2, gate2, *more = modulation(f"{block}.norm1", temb, 9 if dual else 6)
        if last:
            c_scale, c_shift = modulation(f"{block}.norm1_context", temb, 2)
        else:
            c_shift, c_scale, c_gate, c_shift2, c_scale2, c_gate2 = modulation(f"{block}.norm1_context", temb, 6)
        out_x, out_l, out_c = attention(
            f"{block}.attn",
            norm(x) * (1 + scale1) + shift,
            norm(lr) * (1 + scale1) + shift,
            norm(c) * (1 + c_scale) + c_shift,
        )
        if dual:
            shift3, scale3, gate3 = more
            inputs = [norm(s) * (1 + scale3) + shift3 for s in (x, lr)]
            dual_x, dual_l, _ = attention(f"{block}.attn2", *inputs, None)
            out_x, out_l = out_x * gate + dual_x * gate3, out_l * gate + dual_l * gate3
        else:
            out_x, out_l = out_x * gate, out_l * gate
        x, lr = x + out_x, lr + out_l

        hidden = [
            F.gelu(linear(norm(s) * (1 + scale2) + shift2, f"{block}.ff.net.0.proj"), approximate="tanh")
            for s in (x, lr)
        ]
        weight, bias = state[f"{block}.ff.control_conv.weight"], state[f"{block}.ff.control_conv.bias"]
        padded = F.pad(hidden[1].reshape(len(x), h, w, 4 * dim), (0, 0, 1, 1, 1, 1))
        injected = bias + sum(
            padded[:, dy : dy + h, dx : dx + w] * weight[:, 0, dy, dx] for dy in range(3) for dx in range(3)
        )
        hidden[0] = hidden[0] + scale * injected.reshape(len(x), h * w, 4 * dim)
        x, lr = (s + gate2 * linear(t, f"{block}.ff.net.2") for s, t in zip((x, lr), hidden, strict=True))

        if not last:
            c = c + c_gate * linear(out_c, f"{block}.attn.to_add_out")
            inner = F.gelu(
                linear(norm(c) * (1 + c_scale2) + c_shift2, f"{block}.ff_context.net.0.proj"), approximate="tanh"
            )
            c = c + c_gate2 * linear(inner, f"{block}.ff_context.net.2")

    out_scale, out_shift = modulation("norm_out", temb, 2)
    tokens = linear(norm(x) * (1 + out_scale) + out_shift, "proj_out")
    grid = tokens.reshape(len(x), h, w, patch, patch, -1)
    return torch.einsum("bhwpqc->bchpwq", grid).reshape(noisy.shape)
