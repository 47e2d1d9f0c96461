import oracles
import pytest
import torch
from mmdet.models.dense_heads import ATSSHead, FCOSHead, GARetinaHead, PAAHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from ghm_mmdet.heads import DensityScopeMixin

CE = dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True)
FOCAL = dict(type="mmdet.FocalLoss", use_sigmoid=True)
L1 = dict(type="mmdet.L1Loss")
SMOOTH_L1 = dict(type="mmdet.SmoothL1Loss", beta=0.11)
GHMC = dict(type="ghm_mmdet.GHMC", bins=10, momentum=0.75, use_sigmoid=True)
GHMR = dict(type="ghm_mmdet.GHMR", bins=10, momentum=0.7)
HEADS = [("RetinaHead", False, "loss_cls", "loss_bbox"), ("RPNHead", True, "loss_rpn_cls", "loss_rpn_bbox")]


def atss(**kwargs):
    train_cfg = dict(assigner=dict(type="mmdet.ATSSAssigner", topk=2), allowed_border=-1, pos_weight=-1)
    return dict(
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        norm_cfg=dict(type="GN", num_groups=4),
        anchor_generator=dict(type="mmdet.AnchorGenerator", ratios=[1.0], scales=[2.0], strides=[8, 16, 32]),
        bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
        train_cfg=train_cfg,
        **kwargs,
    )


@pytest.mark.parametrize(("name", "rpn", "loss_cls", "loss_bbox"), HEADS)
@pytest.mark.parametrize("scope", ["level", "batch"])
@pytest.mark.parametrize(("classification", "regression"), [(CE, L1), (FOCAL, SMOOTH_L1)])
def test_without_a_density_the_scope_makes_no_difference(
    head_of, batch_of, name, rpn, loss_cls, loss_bbox, scope, classification, regression
):
    ours = head_of(f"ghm_mmdet.{name}", classification, regression, rpn=rpn, density_scope=scope)
    theirs = head_of(f"mmdet.{name}", classification, regression, rpn=rpn)
    batch = batch_of(theirs, labels=1 if rpn else 3)
    losses, expected = batch.losses(ours), batch.losses(theirs)
    assert set(losses) == set(expected) == {loss_cls, loss_bbox}
    for key in expected:
        assert expected[key] > 0
        torch.testing.assert_close(losses[key], expected[key])
        for ours_gradient, theirs_gradient in zip(batch.gradients(losses[key]), batch.gradients(expected[key])):
            torch.testing.assert_close(ours_gradient, theirs_gradient)


@pytest.mark.parametrize(("name", "rpn", "loss_cls", "loss_bbox"), HEADS)
def test_level_scope_is_the_model_zoo(head_of, batch_of, name, rpn, loss_cls, loss_bbox):
    zoo = [dict(loss, type=loss["type"].replace("ghm_mmdet", "mmdet")) for loss in (GHMC, GHMR)]
    ours, theirs = head_of(f"ghm_mmdet.{name}", GHMC, GHMR, rpn=rpn), head_of(f"mmdet.{name}", *zoo, rpn=rpn)
    for seed in range(3):
        batch = batch_of(theirs, seed, labels=1 if rpn else 3)
        losses, expected = batch.losses(ours), batch.losses(theirs)
        for key in (loss_cls, loss_bbox):
            assert losses[key].item() == pytest.approx(expected[key].item(), rel=1e-4)
    torch.testing.assert_close(ours.loss_cls.acc_sum, theirs.loss_cls.acc_sum)


@pytest.mark.parametrize(("name", "rpn", "loss_cls", "loss_bbox"), HEADS)
def test_batch_scope_equals_oracle_on_all_anchors(head_of, batch_of, name, rpn, loss_cls, loss_bbox):
    head = head_of(f"ghm_mmdet.{name}", GHMC, GHMR, rpn=rpn, density_scope="batch")
    classes = head.num_classes
    average_cls, average_bbox = oracles.MovingAverage(10, 0.75), oracles.MovingAverage(10, 0.7)
    for seed in range(3):
        batch = batch_of(head, seed, labels=classes)
        labels, label_weights, bbox_targets, bbox_weights = batch.targets(head)
        logits = batch.rows(batch.cls_scores, classes).flatten().tolist()
        target = oracles.one_hot(labels.tolist(), classes)
        valid = [w > 0 for w in label_weights.tolist() for _ in range(classes)]
        expected_cls = oracles.ghm_c(logits, target, valid, 10, average_cls)
        predicted = batch.rows(batch.bbox_preds, 4).flatten().tolist()
        expected_bbox = oracles.ghm_r(
            predicted, bbox_targets.flatten().tolist(), bbox_weights.flatten().tolist(), 0.02, 10, average_bbox
        )
        losses = batch.losses(head)
        assert losses[loss_cls].item() == pytest.approx(expected_cls.loss, rel=1e-4)
        assert losses[loss_bbox].item() == pytest.approx(expected_bbox.loss, rel=1e-4)
        gradients = batch.gradients(losses[loss_cls])[:3]
        gradients = batch.rows(gradients, classes).flatten().tolist()
        assert gradients == pytest.approx(expected_cls.gradient, rel=1e-3, abs=1e-8)
        # One update of the moving average per step.
        assert head.loss_cls.acc_sum.tolist() == pytest.approx(average_cls.sums, rel=1e-5)
        assert head.loss_bbox.acc_sum.tolist() == pytest.approx(average_bbox.sums, rel=1e-5)


@pytest.mark.parametrize("name", ["RetinaHead", "RPNHead"])
def test_batch_scope_without_objects(head_of, batch_of, name):
    head = head_of(f"ghm_mmdet.{name}", GHMC, GHMR, rpn=name == "RPNHead", density_scope="batch")
    batch = batch_of(head, objects=(0, 0))
    loss_cls, loss_bbox = batch.losses(head).values()
    assert loss_cls > 0 and torch.isfinite(loss_cls) and loss_bbox == 0
    assert any(gradient.any() for gradient in batch.gradients(loss_cls + loss_bbox))


def test_ohem_loss_is_told_the_number_of_images(head_of, batch_of):
    """Mined per image over all levels: what each image gives alone, with the other's anchors ignored."""
    head = head_of("ghm_mmdet.RetinaHead", dict(type="ghm_mmdet.OHEMLoss", per_image=True, use_sigmoid=True), L1)
    head.density_scope = "batch"
    batch = batch_of(head, objects=(2, 0))
    labels, weights, _, _ = batch.targets(head)
    images = [i for m in batch.cls_scores for i in (0, 1) for _ in range(m[i].numel() // 3)]
    logits = batch.rows(batch.cls_scores, 3)
    expected = 0.0
    for image in (0, 1):
        chosen = [i for i in range(len(labels)) if images[i] == image and weights[i] > 0]
        loss = {i: sum(oracles.bce(x, float(c == labels[i])) for c, x in enumerate(logits[i].tolist())) for i in chosen}
        positives = [i for i in chosen if labels[i] < 3]
        negatives = sorted((loss[i] for i in chosen if labels[i] == 3), reverse=True)
        expected += sum(loss[i] for i in positives) + sum(negatives[: 3 * max(len(positives), 1)])
    positives = int((labels < 3).sum())
    assert positives > 1
    # mmdet counts an image without positives as one positive.
    assert batch.losses(head)["loss_cls"].item() == pytest.approx(expected / (positives + 1), rel=1e-4)


def test_a_failed_step_leaves_nothing_for_the_next(head_of, batch_of):
    head = head_of("ghm_mmdet.RetinaHead", CE, L1, density_scope="batch")
    batch = batch_of(head)
    expected = batch.losses(head)
    broken = batch_of(head)
    broken.cls_scores[2] = broken.cls_scores[2][:, :-1]
    with pytest.raises(RuntimeError):
        broken.losses(head)
    assert batch.losses(head) == expected


def test_atss_head():
    """ATSS with three losses and another order of arguments, and a normaliser that is summed over the levels."""
    torch.manual_seed(0)
    plain = ATSSHead(**atss(loss_cls=CE, loss_bbox=dict(type="mmdet.GIoULoss")))
    options = atss(loss_cls=CE, loss_bbox=dict(type="mmdet.GIoULoss"))
    merged = MODELS.build(ConfigDict(type="ghm_mmdet.ATSSHead", density_scope="batch", **options))
    merged.load_state_dict(plain.state_dict())
    features = [torch.randn(1, 16, size, size) for size in (8, 4, 2)]
    truth = [InstanceData(bboxes=torch.tensor([[5.0, 9.0, 40.0, 50.0], [20, 3, 60, 30]]), labels=torch.tensor([0, 2]))]
    metas = [dict(img_shape=(64, 64), pad_shape=(64, 64))]
    losses, expected = (head.loss_by_feat(*head(features), truth, metas) for head in (merged, plain))
    assert set(losses) == set(expected) == {"loss_cls", "loss_bbox", "loss_centerness"}
    for key in expected:
        torch.testing.assert_close(sum(losses[key]), sum(expected[key]))


def test_any_anchor_head_takes_the_mixin():
    """Guided anchoring, which has losses besides, on anchors that it predicts."""

    class MixedGARetinaHead(DensityScopeMixin, GARetinaHead):
        pass

    assigner = dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
    approx = dict(assigner, type="mmdet.ApproxMaxIoUAssigner")
    sampler = dict(type="mmdet.PseudoSampler")
    options = dict(
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        approx_anchor_generator=dict(
            type="mmdet.AnchorGenerator", octave_base_scale=2, scales_per_octave=2, ratios=[1.0], strides=[8, 16, 32]
        ),
        square_anchor_generator=dict(type="mmdet.AnchorGenerator", ratios=[1.0], scales=[2.0], strides=[8, 16, 32]),
        loss_cls=CE,
        loss_bbox=SMOOTH_L1,
        train_cfg=ConfigDict(
            ga_assigner=approx,
            ga_sampler=sampler,
            assigner=assigner,
            sampler=sampler,
            allowed_border=-1,
            pos_weight=-1,
            center_ratio=0.2,
            ignore_ratio=0.5,
        ),
    )
    torch.manual_seed(0)
    plain, merged = GARetinaHead(**options), MixedGARetinaHead(density_scope="batch", **options)
    merged.load_state_dict(plain.state_dict())
    features = [torch.randn(1, 16, size, size) for size in (8, 4, 2)]
    truth = [InstanceData(bboxes=torch.tensor([[5.0, 9.0, 40.0, 50.0], [20, 3, 60, 30]]), labels=torch.tensor([0, 2]))]
    metas = [dict(img_shape=(64, 64), pad_shape=(64, 64))]
    losses, expected = (head.loss_by_feat(*head(features), truth, metas) for head in (merged, plain))
    assert set(losses) == set(expected) > {"loss_cls", "loss_bbox"}
    for key in expected:
        torch.testing.assert_close(sum(losses[key]), sum(expected[key]))


def test_no_anchor_head_is_refused():
    class MixedFCOSHead(DensityScopeMixin, FCOSHead):
        pass

    with pytest.raises(TypeError, match=r"AnchorHead.*MixedFCOSHead is no AnchorHead"):
        MixedFCOSHead(num_classes=3, in_channels=4, density_scope="batch")


def test_unknown_scope_is_named(head_of):
    with pytest.raises(ValueError, match=r"'level' or 'batch', got 'image'"):
        head_of("ghm_mmdet.RetinaHead", CE, L1, density_scope="image")


def test_loss_that_hides_its_sigmoid_is_refused(head_of):
    """Without use_sigmoid in the config, mmdet's heads give a loss that has it one logit too many."""
    with pytest.raises(ValueError, match="write use_sigmoid=True into loss_cls"):
        head_of("ghm_mmdet.RetinaHead", dict(type="ghm_mmdet.GHMC"), L1)


def test_softmax_ghm_in_a_sigmoid_head_is_refused(head_of, batch_of):
    """A head built for sigmoid has no logit for the background, which is a class for softmax."""
    head = head_of("ghm_mmdet.RetinaHead", CE, L1, density_scope="batch")
    head.loss_cls = MODELS.build(dict(type="ghm_mmdet.GHMC", use_sigmoid=False))
    with pytest.raises(ValueError, match=r"labels from 0 to 2 with use_sigmoid=False.*a head built for sigmoid"):
        batch_of(head).losses(head)


@pytest.mark.parametrize(("name", "rpn", "loss_cls", "_"), HEADS)
def test_softmax_ghm_gets_its_background_logit(head_of, batch_of, name, rpn, loss_cls, _):
    softmax = dict(type="ghm_mmdet.GHMC", use_sigmoid=False, bins=10, momentum=0)
    head = head_of(f"ghm_mmdet.{name}", softmax, L1, rpn=rpn, density_scope="batch")
    batch = batch_of(head, labels=1 if rpn else 3)
    assert head.cls_out_channels == (2 if rpn else 4)
    labels, weights, _, _ = batch.targets(head)
    rows = [oracles.one_hot([label], head.cls_out_channels) for label in labels.tolist()]
    logits = batch.rows(batch.cls_scores, head.cls_out_channels).tolist()
    expected = oracles.softmax_ghm_c(logits, rows, (weights > 0).tolist(), 10)
    assert batch.losses(head)[loss_cls].item() == pytest.approx(expected.loss, rel=1e-4)


def test_anchor_head_with_another_kind_of_loss_is_refused():
    class MixedPAAHead(DensityScopeMixin, PAAHead):
        pass

    arguments = atss(loss_bbox=dict(type="mmdet.GIoULoss"))
    arguments["train_cfg"]["assigner"] = dict(
        type="mmdet.MaxIoUAssigner", pos_iou_thr=0.1, neg_iou_thr=0.1, min_pos_iou=0, ignore_iof_thr=-1
    )
    head = MixedPAAHead(density_scope="batch", **arguments)
    features = [torch.randn(1, 16, size, size) for size in (8, 4, 2)]
    truth = [InstanceData(bboxes=torch.tensor([[5.0, 9.0, 40.0, 50.0]]), labels=torch.tensor([0]))]
    with pytest.raises(TypeError, match=r"MixedPAAHead.*called loss_by_feat_single 0 times for 3"):
        head.loss_by_feat(*head(features), truth, [dict(img_shape=(64, 64), pad_shape=(64, 64))])


def test_registered_heads_are_mmdets_and_leave_them_alone():
    for name in ("RetinaHead", "RPNHead", "ATSSHead", "GFLHead", "RTMDetHead", "RTMDetSepBNHead", "TOODHead"):
        ours, theirs = MODELS.get(f"ghm_mmdet.{name}"), MODELS.get(name)
        assert issubclass(ours, theirs) and ours is not theirs
