"""What a study's config makes of the configs it names."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.grid import Setting, load_study
from ghm_mmdet.experiments.study.results import append_result
from ghm_mmdet.experiments.study.study_config import references

STUDIES = Path(__file__).resolve().parents[3] / "configs" / "studies"
BCCD = STUDIES.parent / "bccd" / "retinanet_ce_lite0_bccd.py"
METHOD = """
model = dict(bbox_head=dict(num_classes=3, loss_cls=dict(type="FocalLoss", loss_weight=2.0)))
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))
randomness = dict(seed=7)
train_dataloader = dict(dataset=dict(type="RepeatDataset", times=2, dataset=dict(
    type="CocoDataset", data_root="{root}",
    pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackDetInputs")])))
"""


def write(tmp_path: Path, study: str, root: str = "some/data/") -> Path:
    (tmp_path / "configs" / "studies").mkdir(parents=True, exist_ok=True)
    (tmp_path / "configs" / "method.py").write_text(METHOD.format(root=root))
    path = tmp_path / "configs" / "studies" / "trial.py"
    path.write_text(study)
    return path


def test_grid_of_methods_seeds_noise_and_settings(tmp_path):
    study = """
methods = dict(a="method.py", b=dict(config="method.py", options={"model.bbox_head.loss_cls.type": "Other"}))
seeds = [3, 4]
noise = [0.0, 0.4]
search = dict(lr=[0.1, 0.3], loss_weight=[1, 3])
options = {"train_dataloader.dataset.times": 1}
"""
    _, runs = load_study(write(tmp_path, study), tmp_path)
    assert len(runs) == len({run.name for run in runs}) == len({run.config_hash for run in runs}) == 2 * 2 * 2 * 4
    # Those of one seed are together, so that a study that is stopped has whole comparisons.
    assert [run.seed for run in runs[:16]] == [3] * 8 + [4] * 8
    for run in runs:
        config = run.config
        assert config.randomness.seed == run.seed
        assert config.optim_wrapper.optimizer.lr == run.setting.lr
        assert config.model.bbox_head.loss_cls.loss_weight == 2.0 * run.setting.loss_weight
        assert config.model.bbox_head.loss_cls.type == {"a": "FocalLoss", "b": "Other"}[run.method]
        assert config.train_dataloader.dataset.times == 1
        steps = config.train_dataloader.dataset.dataset.pipeline
        damage = dict(type="ghm_mmdet.DamageLabels", share=run.noise, num_classes=3, seed=run.seed)
        assert steps[2] == (damage if run.noise else dict(type="PackDetInputs"))
        if run.noise:
            assert TRANSFORMS.build(steps[2]).share == 0.4


def test_scenes_are_an_axis_and_part_of_the_hash(tmp_path):
    digits = STUDIES.parent / "digits" / "retinanet_ce_lite0_digits.py"
    study = f"""
methods = dict(a="{digits}", b=dict(config="{digits}", options={{"model.bbox_head.loss_cls.type": "Other"}}))
seeds = [3, 4]
scenes = dict(few=dict(num_classes=2, image_size=[64, 48]), many=dict(num_classes=10, image_size=[96, 96]))
"""
    _, runs = load_study(write(tmp_path, study), tmp_path)
    # Those of one seed are together, as without scenes.
    assert [(run.seed, run.scenes, run.method) for run in runs] == [
        (seed, scenes, method) for seed in (3, 4) for scenes in ("few", "many") for method in "ab"
    ]
    assert len({run.name for run in runs}) == len({run.config_hash for run in runs}) == 8
    for run in runs:
        classes, size = {"few": (2, (64, 48)), "many": (10, (96, 96))}[run.scenes]
        assert run.config.model.bbox_head.num_classes == classes
        for loader in (run.config.train_dataloader, run.config.val_dataloader):
            assert loader.dataset.metainfo.classes == tuple("0123456789")[:classes]
            (resize,) = (step for step in loader.dataset.pipeline if step.type == "Resize")
            assert resize.scale == size
    assert runs[0].config.scenes == dict(num_classes=2, image_size=[64, 48])


def test_scenes_fit_a_two_stage_detector(tmp_path):
    detector = STUDIES.parent / "digits" / "faster-rcnn_digits.py"
    study = f"""
methods = dict(a="{detector}")
scenes = dict(few=dict(num_classes=2, image_size=[64, 48]))
"""
    _, (run,) = load_study(write(tmp_path, study), tmp_path)
    assert run.config.model.roi_head.bbox_head.num_classes == 2
    with pytest.raises(UserError, match="scenes and noise fits detectors with a bbox_head"):
        load_study(write(tmp_path, study + "noise = [0.4]"), tmp_path)


def test_every_run_of_a_method_has_its_options(tmp_path):
    """mmengine takes ``_delete_`` out of what it merges: without a copy only the first run would have it."""
    study = """
replaced = dict(_delete_=True, type="Other")
methods = dict(
    a=dict(config="method.py", options={"model.bbox_head.loss_cls": replaced, "model.bbox_head.loss_new": replaced})
)
seeds = [1, 2, 3]
del replaced
"""
    _, runs = load_study(write(tmp_path, study), tmp_path)
    for loss in ("loss_cls", "loss_new"):
        assert [run.config.model.bbox_head[loss] for run in runs] == [dict(type="Other")] * 3


def test_ranks_are_part_of_the_hash(tmp_path):
    study = 'methods = dict(a="method.py", b=dict(config="method.py", ranks=1), c=dict(config="method.py", ranks=2))'
    _, (none, one, two) = load_study(write(tmp_path, study), tmp_path)
    assert none.config_hash == one.config_hash != two.config_hash
    assert two.config.ranks == 2


def test_hash_knows_the_content_and_not_where_the_data_lies(tmp_path):
    def hashes(root, lr):
        text = f'methods = dict(a="method.py")\noptions = {{"optim_wrapper.optimizer.lr": {lr}}}'
        folder = tmp_path / f"{len(root)}-{lr}"
        return load_study(write(folder, text, root), tmp_path)[1][0].config_hash

    assert hashes("data/", 0.1) == hashes("elsewhere/data/", 0.1) != hashes("data/", 0.2)


def finish(search: Path, results: Path, scores: dict) -> None:
    """Rows for all runs of a search, the mAP by learning rate."""
    for run in load_study(search, results)[1]:
        row = {"method": run.method, "setting": vars(run.setting), "config_hash": run.config_hash}
        append_result(results / f"{search.stem}.jsonl", {**row, "ap": {"mAP": scores[run.setting.lr]}})


def test_tuned_by_a_search(tmp_path):
    search = write(tmp_path, 'methods = dict(a="method.py")\nsearch = dict(lr=[0.1, 0.2, 0.3], loss_weight=[3])')
    search = search.rename(search.with_name("finder.py"))
    path = write(tmp_path, 'methods = dict(a="method.py")\ntuned_by = "finder"')
    with pytest.raises(UserError, match="3 of the 3 runs of the search finder are missing"):
        load_study(path, tmp_path)
    finish(search, tmp_path, {0.1: 0.4, 0.2: 0.5, 0.3: 0.1})
    _, (run,) = load_study(path, tmp_path)
    assert run.setting == Setting(lr=0.2, loss_weight=3)
    # A method may keep its own settings beside those that are tuned.
    path.write_text('methods = dict(a="method.py", c=dict(config="method.py", tuned_as=None))\ntuned_by = "finder"')
    _, runs = load_study(path, tmp_path)
    assert {run.method: run.config.optim_wrapper.optimizer.lr for run in runs} == {"a": 0.2, "c": 0.1}
    assert [run.setting for run in runs if run.method == "c"] == [None]
    path.write_text('methods = dict(c=dict(config="method.py", tuned_as="b"))\ntuned_by = "finder"')
    with pytest.raises(UserError, match="the search finder has no method 'b'"):
        load_study(path, tmp_path)
    # A setting more, and the search is not finished any longer.
    search.write_text(search.read_text().replace("0.3]", "0.3, 0.4]"))
    with pytest.raises(UserError, match="1 of the 4 runs"):
        load_study(path, tmp_path)


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ("seeds = [1]", "defines no methods"),
        ('methods = dict(a="method.py")\nseed = [1]', "has no use for seed;"),
        ('methods = dict(a="gone.py")', "cannot read the config"),
        ('methods = ["method.py"]', "methods must be by name a config"),
        ('methods = dict(a=dict(config="method.py", option={}))', "methods must be"),
        ("methods = dict(a=dict(options={}))", "methods must be"),
        ('methods = dict(a=dict(config="method.py", options=[1]))', "methods must be"),
        ('methods = dict(a="method.py")\nscenes = dict(x=dict(image_size=64, num_classes=3))', "scenes must be"),
        ('methods = dict(a="method.py")\nscenes = dict(x=dict(image_size=[64], num_classes=3))', "scenes must be"),
        ('methods = dict(a="method.py")\nscenes = dict(x=dict(image_size=[64, 64], num_classes=0))', "scenes must be"),
        ('methods = dict(a=dict(config="method.py", ranks=0))', "methods must be"),
        ('methods = dict(a="method.py")\nseeds = 3', "seeds must be a list of integers"),
        ('methods = dict(a="method.py")\nseeds = [-1]', "seeds must be"),
        ('methods = dict(a="method.py")\nseeds = [1, 1]', "names one twice"),
        ('methods = dict(a="method.py")\nnoise = [1.5]', r"noise must be a list of shares in \[0, 1\], got \[1.5\]"),
        ('methods = dict(a="method.py")\nsearch = dict(lr=[0.1])', "search must be"),
        ('methods = dict(a="method.py")\nsearch = dict(lr=0.1, loss_weight=[1])', "search must be"),
        ('methods = dict(a="method.py")\nsearch = dict(lr=[0.1], loss_weight=[1], bins=[2])', "search must be"),
        ('methods = dict(a="method.py")\nsearch = dict(lr=[1], loss_weight=[1])\ntuned_by = "x"', "not both"),
        ('methods = dict(a="method.py")\nscenes = dict(x=dict(num_classes=3))', "scenes must be"),
        (
            'methods = dict(a="method.py")\nreference = ["a", "b"]',
            "reference names 'b', which is none of the methods a",
        ),
        (
            'methods = dict(a="method.py")\noptions = {"model.bbox_head.num_classes.x": 1}',
            "the options of 'a' do not fit",
        ),
        ('methods = dict(a="other.py")\nnoise = [0.4]', "noise fits detectors with a bbox_head"),
        (
            'methods = dict(a="other.py")\nscenes = dict(x=dict(num_classes=3, image_size=[9, 9]))',
            "scenes fits detectors with a bbox_head or a roi_head",
        ),
        (
            f'methods = dict(a="{BCCD}")\nscenes = dict(x=dict(num_classes=3, image_size=[9, 9]))',
            "scenes fit configs that read digits, .*; got .*retinanet_ce_lite0_bccd.py",
        ),
    ],
)
def test_wrong_study(tmp_path, study, said):
    path = write(tmp_path, study)
    (tmp_path / "configs" / "other.py").write_text(METHOD.replace("bbox_head", "rpn_head").format(root="x"))
    with pytest.raises(UserError, match=said):
        load_study(path, tmp_path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.py")), ids=lambda path: path.stem)
def test_studies_of_this_repository_load(path, tmp_path):
    tuned_by = Config.fromfile(path).get("tuned_by")
    if tuned_by:
        finish(path.with_name(f"{tuned_by}.py"), tmp_path, collections.defaultdict(float))
    study, runs = load_study(path, tmp_path)
    assert study.title
    assert len(runs) == len({run.config_hash for run in runs})
    assert {run.method for run in runs} == set(study.methods)
    if not study.get("search"):
        assert set(references(study)) <= set(study.methods)
