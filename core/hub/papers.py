"""What a card cites: the paper and the licence of each method and backbone."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication; `licence` is that of its authors' code and weights, '' where we do not know it."""

    title: str
    authors: str
    venue: str
    arxiv: str
    licence: str = ""

    def line(self) -> str:
        """Return it as a line of Markdown."""
        licence = f" Licence of its code and weights: {self.licence}." if self.licence else ""
        return f"{self.authors}: [{self.title}](https://arxiv.org/abs/{self.arxiv}). {self.venue}.{licence}"

    def bibtex(self) -> str:
        """Return it as an entry of BibTeX."""
        first = re.sub(r"\W", "", self.authors.split()[0].lower())
        year = self.venue.split()[-1]
        return (
            f"@misc{{{first}{year}{self.arxiv.replace('.', '')},\n  title = {{{self.title}}},\n"
            f"  author = {{{self.authors.replace(' et al.', ' and others')}}},\n  year = {{{year}}},\n"
            f"  note = {{{self.venue}}},\n  eprint = {{{self.arxiv}}},\n  archivePrefix = {{arXiv}}\n}}"
        )


_DAPT = Paper(
    "Dynamic Adapter Meets Prompt Tuning: Parameter-Efficient Transfer Learning for Point Cloud Analysis",
    "Zhou et al.",
    "CVPR 2024",
    "2403.01439",
    "Apache-2.0",
)
_ADAPTER_X = Paper(
    "Adapter-X: A Novel General Parameter-Efficient Fine-Tuning Framework for Vision",
    "Li et al.",
    "arXiv 2024",
    "2406.03051",
)
METHODS = {
    "dapt": _DAPT,
    "dapt-x": _ADAPTER_X,
    "adaptformer-x": _ADAPTER_X,
    "adapter-x": _ADAPTER_X,
    "idpt": Paper(
        "Instance-aware Dynamic Prompt Tuning for Pre-trained Point Cloud Models",
        "Zha et al.",
        "ICCV 2023",
        "2304.07221",
    ),
    "adaptformer": Paper(
        "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition",
        "Chen et al.",
        "NeurIPS 2022",
        "2205.13535",
        "MIT",
    ),
    "adapter": Paper("Parameter-Efficient Transfer Learning for NLP", "Houlsby et al.", "ICML 2019", "1902.00751"),
    "lora": Paper("LoRA: Low-Rank Adaptation of Large Language Models", "Hu et al.", "ICLR 2022", "2106.09685"),
    "ssf": Paper(
        "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning",
        "Lian et al.",
        "NeurIPS 2022",
        "2210.08823",
        "MIT",
    ),
    "vpt": Paper("Visual Prompt Tuning", "Jia et al.", "ECCV 2022", "2203.12119"),
    "prefix": Paper(
        "Prefix-Tuning: Optimizing Continuous Prompts for Generation", "Li and Liang", "ACL 2021", "2101.00190"
    ),
    "noah": Paper("Neural Prompt Search", "Zhang et al.", "arXiv 2022", "2206.04673", "MIT"),
    "bitfit": Paper(
        "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
        "Ben Zaken et al.",
        "ACL 2022",
        "2106.10199",
    ),
}
BACKBONES = {
    "point-mae": Paper(
        "Masked Autoencoders for Point Cloud Self-supervised Learning", "Pang et al.", "ECCV 2022", "2203.06604", "MIT"
    ),
    "point-bert": Paper(
        "Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling",
        "Yu et al.",
        "CVPR 2022",
        "2111.14819",
        "MIT",
    ),
    "recon": Paper(
        "Contrast with Reconstruct: Contrastive 3D Representation Learning Guided by Generative Pretraining",
        "Qi et al.",
        "ICML 2023",
        "2302.02318",
        "MIT",
    ),
    "act": Paper(
        "Autoencoders as Cross-Modal Teachers: Can Pretrained 2D Image Transformers Help 3D Representation Learning?",
        "Dong et al.",
        "ICLR 2023",
        "2212.08320",
        "MIT",
    ),
    "maskpoint": Paper(
        "Masked Discrimination for Self-Supervised Learning on Point Clouds", "Liu et al.", "ECCV 2022", "2203.11183"
    ),
    "occo": Paper(
        "Unsupervised Point Cloud Pre-training via Occlusion Completion", "Wang et al.", "ICCV 2021", "2010.01089"
    ),
    "point-m2ae": Paper(
        "Point-M2AE: Multi-scale Masked Autoencoders for Hierarchical Point Cloud Pre-training",
        "Zhang et al.",
        "NeurIPS 2022",
        "2205.14401",
    ),
    "vit-b16": Paper(
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "Dosovitskiy et al.",
        "ICLR 2021",
        "2010.11929",
    ),
    "vit-b16-augreg": Paper(
        "How to train your ViT? Data, Augmentation, and Regularization in Vision Transformers",
        "Steiner et al.",
        "TMLR 2022",
        "2106.10270",
    ),
}


def cited(method: str, backbone: str) -> list[tuple[str, Paper]]:
    """Return (what it is of, paper) of a method and a backbone, as far as there are papers."""
    found = (("Method", METHODS.get(method)), ("Backbone", BACKBONES.get(backbone)))
    return [(what, paper) for what, paper in found if paper is not None]
