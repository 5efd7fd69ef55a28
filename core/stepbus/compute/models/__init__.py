"""Models: an encoder, a pooling and a head as one, their files' names, and a pretrained head and its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.models.building import build_model as build_model
    from stepbus.compute.models.building import head_for as head_for
    from stepbus.compute.models.building import rehearse_head as rehearse_head
    from stepbus.compute.models.building import tell_classes as tell_classes
    from stepbus.compute.models.building import whole_classifier as whole_classifier
    from stepbus.compute.models.head_adoption import adopt_head as adopt_head
    from stepbus.compute.models.head_check import check_head as check_head
    from stepbus.compute.models.head_check import check_loss as check_loss
    from stepbus.compute.models.head_labels import keys_of as keys_of
    from stepbus.compute.models.head_labels import meaning_in as meaning_in
    from stepbus.compute.models.layers import depths_of as depths_of
    from stepbus.compute.models.layers import layers_of as layers_of
    from stepbus.compute.models.loading import LoadReport as LoadReport
    from stepbus.compute.models.model import Classifier as Classifier
    from stepbus.compute.models.model_keys import check_keys as check_keys
    from stepbus.compute.models.part_state import built_part as built_part
    from stepbus.compute.models.part_state import generators_kept as generators_kept
    from stepbus.compute.models.parts import Encoder as Encoder
    from stepbus.compute.models.parts import Head as Head
    from stepbus.compute.models.parts import Pooling as Pooling
    from stepbus.compute.models.pooling import build_pooling as build_pooling
    from stepbus.compute.models.pooling_check import check_models_pooling as check_models_pooling
    from stepbus.compute.models.pooling_check import check_pooling as check_pooling
    from stepbus.compute.models.showing import model_in_words as model_in_words
    from stepbus.compute.models.starting_values import initialise as initialise
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        parts="Encoder Head Pooling",
        building="build_model head_for rehearse_head tell_classes whole_classifier",
        head_adoption="adopt_head",
        head_check="check_head check_loss",
        head_labels="keys_of meaning_in",
        layers="depths_of layers_of",
        loading="LoadReport",
        model="Classifier",
        model_keys="check_keys",
        part_state="built_part generators_kept",
        pooling="build_pooling",
        pooling_check="check_models_pooling check_pooling",
        showing="model_in_words",
        starting_values="initialise",
    )
