"""A trained model on disk: weights, exit table, evaluation samples with the exits' answers, and a card.

A bundle is a folder. No file in it is a pickle, so an untrusted bundle can be wrong but cannot run code.
"""

import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.models.architecture import GLYPHS, Architecture
from node_agent.models.model import Inputs, Model, SubModel
from node_agent.models.tables import ActivationFormat, ExitScores, Samples, SubModelProfile, check_cut
from node_agent.models.tensors import as_tensor
from node_agent.suggest import closest
from node_agent.wire import InputForm, Tensor, TensorForm

if TYPE_CHECKING:
    import torch

    from node_agent.models.network import EarlyExitNetwork
    from node_agent.models.network import SubModel as Module

WEIGHTS, EVALUATION, TABLE, CARD = "weights.safetensors", "evaluation.npz", "exit_table.npz", "card.json"
SCORES = "evaluation_scores.npz"
MODEL_FILES = (CARD, WEIGHTS, TABLE, EVALUATION, SCORES)  # the files that affect a run
LICENSES = "LICENSES.md"
_SHIPPED = Path(__file__).parent


Amount = Annotated[int, Meta(ge=0, le=2**53)]
Shape = Annotated[tuple[Annotated[int, Meta(ge=1, le=2**26)], ...], Meta(min_length=1, max_length=8)]


class PartCost(msgspec.Struct, frozen=True):
    """The cost of an exit head: work per task, bytes of its parameters."""

    flop: Amount
    parameters_bytes: Amount


class BlockCost(PartCost, frozen=True):
    """The cost of a block, and the shape of its output."""

    output_shape: Shape


class ModelParts(msgspec.Struct, frozen=True):
    """The costs in a card, part by part; the stem belongs to the first block."""

    input_shape: Shape
    blocks: tuple[BlockCost, ...]
    exits: dict[str, PartCost]  # by the number of the block they stand behind


@dataclass(frozen=True, slots=True)
class BundleContent:
    """The content of a bundle, as training makes it."""

    weights: "Mapping[str, torch.Tensor]"  # of the folded network, temperatures included
    table: ExitTable  # one column per exit of the model
    evaluation: Samples
    scores: ExitScores  # of the evaluation samples, one column per exit of the model
    card: Mapping[str, object]


class SampleInputs(Inputs):
    """The evaluation samples of a bundle."""

    def __init__(self, samples: Samples) -> None:
        self._images = samples.images

    def tensor(self, sample: int) -> Tensor:
        return as_tensor(self._images[sample : sample + 1])


@dataclass(frozen=True)
class Bundle(Model):
    """A model's folder, read part by part on demand.

    `network`, `modules` and `sub_models` load torch; `scores` and `profiles` only for bundles of earlier versions.

    Raises:
        InputError: in every member, if a file that it reads is missing, damaged or does not fit the others.
    """

    name: str  # of a shipped model; else the folder's name
    folder: Path  # with the files that `model train` writes

    @property
    def _remedy(self) -> str:
        """The hint for a file that cannot be used."""
        if self.folder.parent == _SHIPPED:
            return f"reinstall the package, or make the model: dtoee-testbed model train {self.name} --out DIR"
        models = " or ".join(available_models())
        return f"make a new bundle with: dtoee-testbed model train MODEL --out DIR, where MODEL is {models}"

    @cached_property
    def card(self) -> dict[str, Any]:
        """The card: how the model was made.

        Raises:
            InputError: the file is missing, is no JSON, or is no card of this version.
        """
        path = self.folder / CARD
        try:
            card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {error}", hint=self._remedy) from error
        exits = card.get("exits") if isinstance(card, dict) else None
        if not (isinstance(exits, list) and exits and all(type(block) is int for block in exits)):
            raise InputError(f"{path}: no list of exits", hint=self._remedy)
        if card.get("schema") != 1:
            raise InputError(f"{path}: schema {card.get('schema')!r}, this version reads 1", hint=self._remedy)
        return card

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files; its card may name a shipped model whose evaluation samples it shares.

        Raises:
            InputError: there is no such model.
        """
        lender = self.card.get("evaluation") if name == EVALUATION else None
        if lender is None:
            return self.folder / name
        if lender not in available_models():
            raise InputError(f"{self.folder / CARD}: no model {lender!r} to share samples with", hint=self._remedy)
        return _SHIPPED / str(lender) / name

    @property
    def exits(self) -> tuple[int, ...]:
        """The blocks that carry an exit head; the last one is the end of the model."""
        return tuple(self.card["exits"])

    @cached_property
    def architecture(self) -> Architecture:
        """Blocks and exits of the network.

        Raises:
            InputError: the card does not describe a possible network.
        """
        if "strides" not in self.card:  # a bundle of an earlier version, which knew one architecture
            if self.exits != GLYPHS.exits:
                raise InputError(f"{self.folder / CARD}: exits {self.exits}, but no strides", hint=self._remedy)
            return GLYPHS
        try:
            return msgspec.convert(self.card, Architecture)
        except msgspec.ValidationError as error:
            raise InputError(f"{self.folder / CARD}: {error}", hint=self._remedy) from error

    @property
    def _classes(self) -> int:
        """Number of classes by the card; a very large number if the card does not list them."""
        named = self.card.get("classes")
        return len(named) if isinstance(named, list) and named else 2**31

    @cached_property
    def evaluation(self) -> Samples:
        """The samples that devices offer as tasks.

        Raises:
            InputError: the file is missing or damaged, or its arrays do not fit each other.
        """
        images, labels, severity = self._arrays(EVALUATION, "images", "labels", "severity")
        count = len(labels)
        sound = images.shape == (count, 1, 32, 32) and images.dtype == np.uint8 and severity.shape == (count,)
        if not (sound and labels.ndim == 1 and labels.dtype.kind in "iu" and count):
            raise InputError(f"{self.file(EVALUATION)}: arrays of the wrong shape or type", hint=self._remedy)
        if not ((labels >= 0) & (labels < self._classes)).all():
            raise InputError(f"{self.file(EVALUATION)}: labels: classes that the model has not", hint=self._remedy)
        if not np.isfinite(severity).all():
            raise InputError(f"{self.file(EVALUATION)}: severity: NaN or infinite", hint=self._remedy)
        return Samples(images, labels.astype(np.int64), severity.astype(np.float32))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The true class of each evaluation sample, [N]."""
        return self.evaluation.labels

    def inputs(self, cut: Sequence[int], activation: ActivationFormat) -> SampleInputs:  # noqa: ARG002
        """The evaluation samples as devices offer them."""
        return SampleInputs(self.evaluation)

    @cached_property
    def _whole_table(self) -> ExitTable:
        confidence, correct = self._arrays(TABLE, "conf", "correct")
        sound = confidence.ndim == 2 and confidence.shape == correct.shape and correct.dtype == np.bool_
        sound = sound and confidence.dtype.kind == "f"
        if not (sound and confidence.shape[1] == len(self.exits) and len(confidence)):
            raise InputError(f"{self.folder / TABLE}: arrays of the wrong shape or type", hint=self._remedy)
        table = ExitTable(confidence.astype(np.float64), correct)
        if not ((table.confidence >= 0) & (table.confidence <= 1)).all():
            raise InputError(f"{self.folder / TABLE}: confidences outside 0..1", hint=self._remedy)
        return table

    def exit_table(self, cut: Sequence[int]) -> ExitTable:
        """Held-out validation rows with one column per sub-model of `cut`.

        Raises:
            InputError: the cut is impossible, or the file is damaged.
        """
        columns = [self.exits.index(block) for block in check_cut(cut, self.exits)]
        return ExitTable(self._whole_table.confidence[:, columns], self._whole_table.correct[:, columns])

    @cached_property
    def _whole_scores(self) -> ExitScores:
        if not (self.folder / SCORES).exists():  # a bundle of an earlier version
            from node_agent.models.network import exit_scores  # noqa: PLC0415 - as in `network`

            return ExitScores(*exit_scores(self.network(), self.evaluation.images))
        confidence, prediction = self._arrays(SCORES, "conf", "prediction")
        sound = confidence.shape == prediction.shape == (self.sample_count, len(self.exits))
        sound = sound and confidence.dtype.kind == "f" and prediction.dtype.kind in "iu"
        if not sound:
            raise InputError(f"{self.folder / SCORES}: arrays of the wrong shape or type", hint=self._remedy)
        classes = (prediction >= 0) & (prediction < self._classes)
        if not (((confidence >= 0) & (confidence <= 1)).all() and classes.all()):
            raise InputError(f"{self.folder / SCORES}: confidences outside 0..1, or no classes", hint=self._remedy)
        return ExitScores(confidence.astype(np.float64), prediction.astype(np.int64))

    def scores(self, cut: Sequence[int]) -> ExitScores:
        """The answers of the sub-models of `cut` to the N evaluation samples, shape (N, stages).

        Activations are float32 in these answers. Loads torch only for bundles that do not hold them.

        Raises:
            InputError: the cut is impossible, or the file is damaged.
        """
        columns = [self.exits.index(block) for block in check_cut(cut, self.exits)]
        return ExitScores(self._whole_scores.confidence[:, columns], self._whole_scores.prediction[:, columns])

    def profiles(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModelProfile, ...]:
        """The costs of the sub-models of `cut`; loads torch only for bundles without costs in their card.

        Args:
            cut: the block after which each sub-model ends.
            activation: the format in which activations travel between stages.

        Raises:
            InputError: the cut is impossible, or the card's costs do not fit the model.
        """
        ends = check_cut(cut, self.exits)
        shapes = self.input_shapes(cut)
        item_bytes = 2 if activation == "float16" else 4
        sizes = [math.prod(shape) * (1 if stage == 0 else item_bytes) for stage, shape in enumerate(shapes)]
        found = []
        for index, (begin, end) in enumerate(zip((0, *ends), ends, strict=False)):
            parts = [*self._parts.blocks[begin:end], self._parts.exits[str(end)]]
            found.append(
                SubModelProfile(
                    stage=index + 1,
                    flop=self._positive(sum(part.flop for part in parts), index + 1),
                    input_bytes=sizes[index],
                    output_bytes=sizes[index + 1] if index + 1 < len(ends) else 0,
                    parameters_bytes=sum(part.parameters_bytes for part in parts),
                )
            )
        return tuple(found)

    def _positive(self, flop: int, stage: int) -> int:
        """`flop`, the work of a stage. Raises InputError if it is below 1."""
        if flop < 1:
            raise InputError(f"{self.folder / CARD}: costs: stage {stage} has no work", hint=self._remedy)
        return flop

    def input_shapes(self, cut: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs of the sub-models of `cut`: an image first, then activations (1, C, H, W).

        Raises:
            InputError: the cut is impossible.
        """
        ends = check_cut(cut, self.exits)
        return (self._parts.input_shape, *(self._parts.blocks[end - 1].output_shape for end in ends[:-1]))

    @cached_property
    def _parts(self) -> "ModelParts":
        stated = self.card.get("costs")
        if stated is None:  # a bundle of an earlier version
            from node_agent.models.cost import measure_parts  # noqa: PLC0415 - as in `network`

            stated = measure_parts(self.network())
        try:
            parts = msgspec.convert(stated, ModelParts)
        except msgspec.ValidationError as error:
            raise InputError(f"{self.folder / CARD}: costs: {error}", hint=self._remedy) from error
        if len(parts.blocks) != self.exits[-1] or set(parts.exits) != set(map(str, self.exits)):
            raise InputError(f"{self.folder / CARD}: costs of other blocks or exits", hint=self._remedy)
        return parts

    def input_forms(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[InputForm, ...]:
        """The tensors that the sub-models of `cut` take: an image (uint8) first, then activations.

        Raises:
            InputError: the cut is impossible.
        """
        shapes = enumerate(self.input_shapes(cut), start=1)
        return tuple(InputForm(TensorForm("uint8" if stage == 1 else activation, shape)) for stage, shape in shapes)

    def check(self) -> None:
        """Read every file that a run needs, without torch. Raises InputError for the first that cannot be used."""
        self.check_weights()
        self.exit_table(self.exits)
        self.profiles(self.exits, "float32")
        self.evaluation  # noqa: B018 - reading it is the check
        self.fingerprint()

    def fingerprint(self) -> str:
        """The SHA-256 (hex) of the files that affect a run."""
        digest = hashlib.sha256()
        for name in MODEL_FILES:
            file = self.file(name)
            try:
                content = file.read_bytes() if file.exists() else b""
            except OSError as error:
                raise InputError(f"{file}: cannot be read: {error.strerror}", hint=self._remedy) from error
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()

    def check_weights(self) -> None:
        """Raise InputError if the weights cannot be read, or hold NaN or infinity; does not load torch."""
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - only needed for a topology's model

        path = self.folder / WEIGHTS
        try:
            with safe_open(path, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                    tensor = tensors.get_tensor(name)
                    if not np.isfinite(tensor).all():
                        wrong = int((~np.isfinite(tensor)).sum())
                        what = f"tensor {name}: {wrong} of {tensor.size} weights are NaN or infinite"
                        raise InputError(f"{path}: {what}", hint=self._remedy)
        except (OSError, SafetensorError, TypeError) as error:  # TypeError: a number format that numpy lacks
            raise InputError(f"{path}: {str(error).splitlines()[0]}", hint=self._remedy) from error

    def network(self) -> "EarlyExitNetwork":
        """The whole model in its inference form; loads torch.

        Raises:
            InputError: its weights cannot be read, are not finite, or do not fit its architecture.
        """
        from safetensors import SafetensorError  # noqa: PLC0415 - devices and checks must not load torch
        from safetensors.torch import load_file  # noqa: PLC0415

        self.check_weights()

        from node_agent.models.network import EarlyExitNetwork  # noqa: PLC0415

        path = self.folder / WEIGHTS
        network = EarlyExitNetwork(self.architecture, folded=True)
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: {reason}", hint=self._remedy) from error
        return network.eval().requires_grad_(False)

    def sub_models(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModel, ...]:
        """The sub-models of one cut, freshly loaded, as servers run them; loads torch.

        Raises:
            InputError: the cut is impossible, or the weights cannot be used.
        """
        modules, profiles = self.modules(cut), self.profiles(cut, activation)

        from node_agent.models.hosted import NetworkSubModel  # noqa: PLC0415 - as in `network`

        parts = zip(modules, self.input_forms(cut, activation), profiles, strict=True)
        return tuple(NetworkSubModel(module, form, activation, float(profile.flop)) for module, form, profile in parts)

    def modules(self, cut: Sequence[int]) -> "tuple[Module, ...]":
        """The sub-models of one cut as PyTorch modules, freshly loaded; loads torch.

        Raises:
            InputError: the cut is impossible, or the weights cannot be used.
        """
        check_cut(cut, self.exits)
        network = self.network()

        from node_agent.models.network import cut as cut_network  # noqa: PLC0415 - as above

        return cut_network(network, cut)

    def _arrays(self, file: str, *names: str) -> list[npt.NDArray[Any]]:
        path = self.file(file)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return [np.asarray(archive[name]) for name in names]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: {error}", hint=self._remedy) from error


def available_models() -> tuple[str, ...]:
    """Names of the models that come with the package. Raises nothing."""
    return tuple(sorted(card.parent.name for card in _SHIPPED.glob(f"*/{CARD}")))


def hint_of_models(unknown: str, where: str = "") -> str:
    """The hint for an unknown model's name; `where` is appended and says where folders of bundles are searched."""
    known = f"shipped models: {', '.join(available_models()) or 'none'}; or give the folder of a bundle{where}"
    guess = closest(unknown, available_models())
    return known if guess is None else f"did you mean {guess}? ({known})"


def load_bundle(name_or_path: str) -> Bundle:
    """A shipped model by name, or the bundle in a folder that `model train` wrote.

    Only the card is read; the other files are checked when they are first used.

    Args:
        name_or_path: one of `available_models()`, or the path of a folder.

    Raises:
        InputError: there is no such model or folder, or its card cannot be read.
    """
    shipped = name_or_path in available_models()
    folder = _SHIPPED / name_or_path if shipped else Path(name_or_path)
    if not shipped and not folder.is_dir():
        raise InputError(f"unknown model {name_or_path!r}", hint=hint_of_models(name_or_path))
    bundle = Bundle(name_or_path if shipped else folder.resolve().name, folder)
    bundle.card  # noqa: B018 - reading it is the check
    return bundle


def write_bundle(folder: Path, content: BundleContent) -> None:
    """Write a bundle into `folder`; the folder may exist, its files are then replaced."""
    from safetensors.torch import save  # noqa: PLC0415 - needs torch, which readers must not load

    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.contiguous() for name, tensor in content.weights.items()})
    (folder / WEIGHTS).write_bytes(weights)
    samples, table = content.evaluation, content.table
    np.savez_compressed(folder / EVALUATION, images=samples.images, labels=samples.labels, severity=samples.severity)
    np.savez_compressed(folder / TABLE, conf=table.confidence, correct=table.correct)
    scores = content.scores
    # Classes in one byte, confidences as the network computes them.
    confidence, prediction = scores.confidence.astype(np.float32), scores.prediction.astype(np.uint8)
    np.savez_compressed(folder / SCORES, conf=confidence, prediction=prediction)
    notices = _SHIPPED / "glyphs" / LICENSES
    if notices.resolve() != (folder / LICENSES).resolve():
        shutil.copyfile(notices, folder / LICENSES)  # the samples derive from the sources and need their notices
    card = json.dumps(content.card, indent=2, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(card, encoding="utf-8")
