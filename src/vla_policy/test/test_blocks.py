"""Blocks: what makes each of them what it is."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from vla_policy.core.blocks.attention import Attention
from vla_policy.core.blocks.flow_expert import FlowExpert, FlowExpertConfig
from vla_policy.core.blocks.grounding import Grounding, cell_centres, window
from vla_policy.core.blocks.language import RoleReader, RoleReaderConfig
from vla_policy.core.blocks.vision import ConvPyramid, ConvPyramidConfig


def test_attention_is_the_fused_kernel_written_out() -> None:
    torch.manual_seed(0)
    layer, x, context = Attention(24, 3), torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    mask = torch.rand(2, 1, 1, 7) > 0.3
    kv = layer.keys_values(context)
    query = layer.query(x).view(2, 5, 3, 8).transpose(1, 2)
    expected = F.scaled_dot_product_attention(query, kv[0], kv[1], attn_mask=mask).transpose(1, 2).reshape(2, 5, 24)
    torch.testing.assert_close(layer(x, kv, mask), layer.out(expected))


def test_window_keeps_to_the_highest_peak() -> None:
    """Two equal-looking objects: the mean of both would be a place where nothing is."""
    logits = torch.full((64,), -5.0)
    logits[9], logits[54] = 5.0, 4.8
    cells = cell_centres(8)
    found = window(logits, cells, 8) @ cells
    torch.testing.assert_close(found, cells[9], atol=0.02, rtol=0)


def test_cells_run_row_by_row_with_x_to_the_right() -> None:
    torch.testing.assert_close(cell_centres(2), torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]))


def test_grounding_finds_the_cell_that_matches_its_query() -> None:
    torch.manual_seed(0)
    grounding, features = Grounding(16, 8), torch.randn(1, 2, 16, 8, 8) * 0.1
    query = torch.randn(16)
    query = 40 * query / query.norm()
    features[0, 0, :, 2, 5] = query / 10
    features[0, 1, :, 7, 0] = query / 10
    located = grounding(features, query[None, None])
    cells = cell_centres(8)
    torch.testing.assert_close(located.uv[0, :, 0], torch.stack([cells[2 * 8 + 5], cells[7 * 8]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(located.pooled[0, 0, 0], features[0, 0, :, 2, 5], atol=1e-2, rtol=0)


def test_late_fusion_features_do_not_depend_on_the_instruction() -> None:
    """Two queries at once give what each gives alone: features can be shared between instructions."""
    torch.manual_seed(0)
    grounding, features, queries = Grounding(16, 8), torch.randn(1, 2, 16, 8, 8), torch.randn(1, 2, 16)
    both = grounding(features, queries)
    for i in range(2):
        torch.testing.assert_close(grounding(features, queries[:, i : i + 1]).uv[:, :, 0], both.uv[:, :, i])


def test_padding_tokens_have_no_influence() -> None:
    torch.manual_seed(0)
    reader = RoleReader(RoleReaderConfig("role_reader", "minilm", 8, 12, 6, 16, 2, 2, 4), 10)
    tokens, sentence = torch.randn(1, 8, 12), torch.randn(1, 6)
    mask = torch.arange(8)[None] < 5
    full = reader(tokens, mask, sentence)
    changed = torch.where(mask[..., None], tokens, 100.0)
    torch.testing.assert_close(reader(changed, mask, sentence).queries, full.queries)
    torch.testing.assert_close(reader(tokens[:, :5], mask[:, :5], sentence).queries, full.queries)


def test_pyramid_has_stride_four_and_tells_cameras_apart() -> None:
    torch.manual_seed(0)
    pyramid = ConvPyramid(ConvPyramidConfig("conv_pyramid", 4, (8, 8, 8), (1, 1, 1), 6), cameras=2)
    image = torch.randn(1, 1, 3, 32, 32).expand(-1, 2, -1, -1, -1)
    out = pyramid(image)
    assert out.shape == (1, 2, 6, 8, 8)
    torch.testing.assert_close(out[:, 0], out[:, 1])
    with torch.no_grad():
        pyramid.camera[1] += 1.0
        out = pyramid(image)
    assert not torch.allclose(out[:, 0], out[:, 1], atol=0.01)


def test_moving_the_image_moves_the_features() -> None:
    """Vision is convolutional, so shift augmentation with shifted labels is sound."""
    torch.manual_seed(0)
    pyramid = ConvPyramid(ConvPyramidConfig("conv_pyramid", 4, (8, 8, 8), (1, 1, 1), 6), cameras=1)
    image = torch.zeros(1, 1, 3, 128, 128)
    image[..., 50:58, 50:58] = torch.rand(3, 8, 8)
    with torch.no_grad():
        here, there = pyramid(image), pyramid(image.roll(16, -1))
    torch.testing.assert_close(here[..., 10:18, 10:16], there[..., 10:18, 14:20], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(here[..., 10:18, 10:16], there[..., 10:18, 10:16], atol=0.1)


def test_cached_keys_and_values_give_the_same_velocity() -> None:
    """pi0's defining property: the observation's keys and values are computed once for all denoising steps."""
    torch.manual_seed(0)
    expert = FlowExpert(FlowExpertConfig("flow_expert", 16, 2, 2), horizon=5, action_width=3)
    tokens, actions, time = torch.randn(2, 4, 16), torch.randn(2, 5, 3), torch.rand(2)
    cached = expert.keys_values(tokens)
    first = expert.velocity(actions, time, cached)
    torch.testing.assert_close(expert.velocity(actions, time, expert.keys_values(tokens)), first)
    torch.testing.assert_close(expert.velocity(actions, time[:, None].expand(2, 5), cached), first)
    other = expert.velocity(actions, time, expert.keys_values(tokens + 1.0))
    assert not torch.allclose(other, first, atol=1e-4)


def test_regression_needs_no_noise() -> None:
    torch.manual_seed(0)
    expert = FlowExpert(FlowExpertConfig("flow_expert", 16, 2, 2), horizon=5, action_width=3)
    cached = expert.keys_values(torch.randn(2, 4, 16))
    torch.testing.assert_close(expert.regress(cached), expert.regress(cached), rtol=0, atol=0)
