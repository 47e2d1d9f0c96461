"""The registry node of this package, a child of mmengine's: ``type="ghm_mmdet.GHMC"`` in any config finds it.

mmengine imports this module by its name, ``<scope>.registry``, and the modules in ``locations`` on first use, so that a
config needs no ``custom_imports``. mmdet's own classes of the same names stay what they are.
"""

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope="ghm_mmdet",
    locations=["ghm_mmdet.losses", "ghm_mmdet.heads", "ghm_mmdet.backbones"],
)
TRANSFORMS = Registry("transform", parent=MMENGINE_TRANSFORMS, scope="ghm_mmdet", locations=["ghm_mmdet.transforms"])
TASK_UTILS = Registry("task util", parent=MMENGINE_TASK_UTILS, scope="ghm_mmdet", locations=["ghm_mmdet.task_modules"])
HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="ghm_mmdet", locations=["ghm_mmdet.hooks"])
