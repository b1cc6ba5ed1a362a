"""FRD-UVAD's network: every size it comes in, what its attention may see, when it disrupts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from models.frd import blocks
from models.frd.blocks import Block, SnippetAttention, sinusoid_table
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import BLOCK_COUNTS, FRD
from utils.errors import UserError


def items(batch: int = 2, crops: int = 3, snippets: int = 4, size: int = 256) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, crops, snippets, size, generator=generator)


@pytest.mark.parametrize(("blocks", "snippets"), itertools.product(BLOCK_COUNTS, (1, 2, 4)))
def test_every_block_count_and_item_length(blocks, snippets):
    model = FRD(256, blocks)
    output = model(items(snippets=snippets), num_bank=1)
    assert output["reconstruction"].shape == (2, 3, snippets, 256)
    assert output["scores"].shape == (1, snippets)
    assert ((output["scores"] > 0) & (output["scores"] < 1)).all()
    if blocks:
        kinds = [block.attn.cascade for block in model.decoder.decoder_blocks]
        assert kinds == [False] * max(1, blocks // 2) + [True] * (blocks // 2)
    else:
        assert set(dict(model.named_children())) == {"AE", "scorer"}


@pytest.mark.parametrize("size", [768, 1024])
@pytest.mark.parametrize("crops", [1, 10])
def test_other_feature_sizes_and_crop_counts(size, crops):
    output = FRD(size, 2)(items(crops=crops, size=size))
    assert output["reconstruction"].shape == (2, crops, 4, size)


@pytest.mark.parametrize("size", [0, 128, 500, 1000, 2047])
def test_other_sizes_are_refused_in_words(size):
    with pytest.raises(UserError, match="multiple of 256"):
        FRD(size, 2)
    with pytest.raises(UserError, match="num_blocks"):
        FRD(256, 3)


@pytest.mark.parametrize("cascade", [False, True])
def test_which_snippets_a_snippet_sees(cascade):
    block = Block(16, cascade)
    tokens = torch.randn(1, 4, 16, 16, requires_grad=True)
    seen = []
    for snippet in range(4):
        (gradient,) = torch.autograd.grad(
            block(tokens)[0, snippet].square().sum(), tokens, retain_graph=True
        )
        seen.append(gradient[0].abs().sum(dim=(1, 2)).nonzero().flatten().tolist())
    assert seen == ([[0], [0, 1], [1, 2], [2, 3]] if cascade else [[0], [1], [2], [3]])


def test_attention_against_the_formula_snippet_by_snippet():
    torch.manual_seed(0)
    attention = SnippetAttention(32, cascade=True)
    tokens = torch.randn(2, 3, 16, 32)
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    for item, snippet in itertools.product(range(2), range(3)):
        heads = []
        for head in range(16):
            part = slice(2 * head, 2 * head + 2)
            q = query[item, max(snippet - 1, 0), :, part]
            weights = (q @ key[item, snippet, :, part].T / math.sqrt(2)).softmax(dim=-1)
            heads.append(weights @ value[item, snippet, :, part])
        expected = attention.proj(torch.cat(heads, dim=-1))
        torch.testing.assert_close(attention(tokens)[item, snippet], expected)


def test_disruption_and_dropout_in_train_mode_only():
    model, features = FRD(256, 2), items()
    first, second = model(features), model(features)
    assert not torch.equal(first["reconstruction"], second["reconstruction"])
    assert not torch.equal(first["scores"], second["scores"])
    model.eval()
    for name in first:
        assert torch.equal(model(features)[name], model(features)[name])
    assert sum(isinstance(part, torch.nn.Dropout) for part in model.decoder.modules()) == 1


def test_disruption_drops_its_share_of_single_values():
    model = FRD(256, 1, disruption=0.25)
    dropped = model.decoder.disruption(torch.ones(100_000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)


def test_position_table_and_initial_weights():
    table = sinusoid_table(8)
    for place, column in itertools.product(range(16), range(8)):
        angle = place / 10000 ** (2 * (column // 2) / 8)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert table[place, column].item() == pytest.approx(expected, abs=1e-6)
    model = FRD(256, 2)
    assert not any("positions" in key for key in model.state_dict())
    weight = model.decoder.decoder_blocks[0].attn.qkv.weight  # Xavier over the whole (3e, e)
    assert weight.abs().max().item() == pytest.approx(math.sqrt(6 / (16 + 48)), rel=0.05)
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("c1.bias"))


def test_attention_of_many_snippets_is_that_of_few(monkeypatch):
    """A GPU's kernels take a limited number at once."""
    torch.manual_seed(0)
    layer, tokens = SnippetAttention(256 // 16, cascade=True), torch.randn(5, 2, 16, 256 // 16)
    expected, calls = layer(tokens), []
    attention = F.scaled_dot_product_attention

    def limited(*parts):
        calls.append(len(parts[0]))
        return attention(*parts)

    monkeypatch.setattr(blocks, "MOST_SNIPPETS", 4)
    monkeypatch.setattr(blocks.F, "scaled_dot_product_attention", limited)
    torch.testing.assert_close(layer(tokens), expected)
    assert calls == [4, 4, 2]


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_features_are_read_at_the_scale_of_the_training_features(blocks):
    features, model = items(), FRD(256, blocks).eval()
    keys, published = list(model.state_dict()), model(features)
    model.set_scale(0.4)
    assert list(model.state_dict()) == keys and not any("scale" in key for key in keys)
    scaled = model(0.4 * features)
    torch.testing.assert_close(scaled["scores"], published["scores"])
    torch.testing.assert_close(scaled["reconstruction"], 0.4 * published["reconstruction"])
    assert model.gain == (None if blocks == 0 else pytest.approx(0.4))


def test_a_centred_scorer_sees_features_less_their_mean():
    scorer = C2FPLScorer(256).eval()
    keys, features = list(scorer.state_dict()), items()
    published = scorer(features)
    scorer.mean.fill_(3.0)
    assert list(scorer.state_dict()) == keys and "mean" not in keys
    torch.testing.assert_close(scorer(features + 3), published)
    assert not torch.allclose(scorer(features), published)
