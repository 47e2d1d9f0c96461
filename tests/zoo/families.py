"""The detectors of MMDetection 3.3's model zoo that build by themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """config: in mmdet's configs; size: of images; stuff: stride of a semantic map; losses: keys in the config.

    empty: whether mmdet's own losses can do with images that hold no object.
    predicts: whether mmdet can predict on a CPU.
    """

    config: str
    size: int = 64
    mask: bool = False
    stuff: int = 0
    proposals: bool = False
    losses: tuple[str, ...] = ("loss_cls",)
    thin: bool = True
    empty: bool = True
    predicts: bool = True


FAMILIES = {
    "retinanet": Family("retinanet/retinanet_r50_fpn_1x_coco.py"),
    "retinanet_legacy": Family("legacy_1.x/retinanet_r50_fpn_1x_coco_v1.py"),
    "pvt_retinanet": Family("pvt/retinanet_pvtv2-b0_fpn_1x_coco.py"),
    "nas_fpn": Family("nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py", size=128),
    "efficientnet": Family("efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco.py"),
    "widerface_retinanet": Family("wider_face/retinanet_r50_fpn_1x_widerface.py"),
    "ghm_cfg": Family("ghm/retinanet_r50_fpn_ghm-1x_coco.py"),
    "libra_retinanet": Family("libra_rcnn/libra-retinanet_r50_fpn_1x_coco.py"),
    "atss": Family("atss/atss_r50_fpn_1x_coco.py"),
    "dyhead_atss": Family("dyhead/atss_r50_fpn_dyhead_1x_coco.py"),
    "ddod": Family("ddod/ddod_r50_fpn_1x_coco.py"),
    "fsaf": Family("fsaf/fsaf_r50_fpn_1x_coco.py"),
    "free_anchor": Family("free_anchor/freeanchor_r50_fpn_1x_coco.py"),
    "paa": Family("paa/paa_r50_fpn_1x_coco.py"),
    "lad": Family("lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py", thin=False),
    "gfl": Family("gfl/gfl_r50_fpn_1x_coco.py"),
    "ld": Family("ld/ld_r18-gflv1-r101_fpn_1x_coco.py"),
    "vfnet": Family("vfnet/vfnet_r50_fpn_1x_coco.py"),
    "tood": Family("tood/tood_r50_fpn_1x_coco.py", thin=False),
    "pisa_retinanet": Family("pisa/retinanet-r50_fpn_pisa_1x_coco.py"),
    "sabl_retinanet": Family("sabl/sabl-retinanet_r50_fpn_1x_coco.py"),
    "ga_retinanet": Family("guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py", predicts=False),
    "ssd": Family("ssd/ssd300_coco.py", size=300),
    "pisa_ssd": Family("pisa/ssd300_pisa_coco.py", size=300),
    "ssdlite": Family("ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py", size=320),
    "yolact": Family("yolact/yolact_r50_1xb8-55e_coco.py", size=138, mask=True),
    "yolof": Family("yolof/yolof_r50-c5_8xb8-1x_coco.py"),
    "yolov3": Family("yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py", losses=("loss_cls", "loss_conf")),
    "fcos": Family("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"),
    "nas_fcos": Family("nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco.py"),
    "nas_fcos_nashead": Family("nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py"),
    "autoassign": Family("autoassign/autoassign_r50-caffe_fpn_1x_coco.py"),
    "foveabox": Family("foveabox/fovea_r50_fpn_4xb4-1x_coco.py"),
    "reppoints": Family("reppoints/reppoints-moment_r50_fpn_1x_coco.py"),
    "yolox": Family("yolox/yolox_tiny_8xb8-300e_coco.py", losses=("loss_cls", "loss_obj")),
    "rtmdet": Family("rtmdet/rtmdet_tiny_8xb32-300e_coco.py"),
    "rtmdet_ins": Family("rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py", mask=True),
    "centernet": Family("centernet/centernet_r18_8xb16-crop512-140e_coco.py", losses=("loss_center_heatmap",)),
    "centernet_update": Family("centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py"),
    "condinst": Family("condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py", mask=True),
    "solo": Family("solo/solo_r50_fpn_1x_coco.py", mask=True),
    "decoupled_solo": Family("solo/decoupled-solo_r50_fpn_1x_coco.py", mask=True),
    "solov2": Family("solov2/solov2_r50_fpn_1x_coco.py", mask=True),
    "rpn": Family("rpn/rpn_r50_fpn_1x_coco.py"),
    "ga_rpn": Family("guided_anchoring/ga-rpn_r50_fpn_1x_coco.py", predicts=False),
    "faster_rcnn": Family("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"),
    "faster_rcnn_giou": Family("faster_rcnn/faster-rcnn_r50_fpn_giou_1x_coco.py"),
    "faster_rcnn_ohem": Family("faster_rcnn/faster-rcnn_r50_fpn_ohem_1x_coco.py"),
    "fast_rcnn": Family("fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py", proposals=True),
    "faster_legacy": Family("legacy_1.x/faster-rcnn_r50_fpn_1x_coco_v1.py"),
    "openimages": Family("openimages/faster-rcnn_r50_fpn_32xb2-1x_openimages.py"),
    "mask_rcnn": Family("mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", mask=True),
    "cascade_rcnn": Family("cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"),
    "cascade_mask": Family("cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py", mask=True),
    "cascade_rpn_faster": Family("cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py"),
    "ga_faster": Family("guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco.py", predicts=False),
    "libra_rcnn": Family("libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py"),
    "dynamic_rcnn": Family("dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py"),
    "double_heads": Family("double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py"),
    "grid_rcnn": Family("grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py"),
    "pisa_faster": Family("pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py"),
    "sabl_faster": Family("sabl/sabl-faster-rcnn_r50_fpn_1x_coco.py"),
    "sabl_cascade": Family("sabl/sabl-cascade-rcnn_r50_fpn_1x_coco.py"),
    "crowddet": Family("crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py"),
    "htc": Family("htc/htc_r50_fpn_1x_coco.py", mask=True, stuff=8),
    "seesaw_mask": Family("seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1.py", mask=True),
    "seesaw_normed": Family("seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss-normed-mask_random-ms-2x_lvis-v1.py", mask=True),
    "ms_rcnn": Family("ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py", mask=True),
    "point_rend": Family("point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py", mask=True, empty=False),
    "panoptic_fpn": Family("panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py", mask=True, stuff=1),
    "groie": Family("groie/faste-rcnn_r50_fpn_groie_1x_coco.py"),
    "sparse_rcnn": Family("sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py"),
    "detr": Family("detr/detr_r18_8xb2-500e_coco.py"),
    "conditional_detr": Family("conditional_detr/conditional-detr_r50_8xb2-50e_coco.py"),
    "dab_detr": Family("dab_detr/dab-detr_r50_8xb2-50e_coco.py"),
    "deformable_detr": Family("deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"),
    "deformable_detr_2stage": Family("deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py"),
    "dino": Family("dino/dino-4scale_r50_8xb2-12e_coco.py"),
    "ddq": Family("ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py"),
    "maskformer": Family("maskformer/maskformer_r50_ms-16xb1-75e_coco.py", mask=True, stuff=1),
    "mask2former": Family("mask2former/mask2former_r50_8xb2-lsj-50e_coco.py", mask=True),
}
