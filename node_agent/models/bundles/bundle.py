"""A trained model on disk: weights, exit table, evaluation samples with the exits' answers, and a card.

A bundle is a folder. No file in it is a pickle, and none names code, so an untrusted bundle can be wrong but cannot run
code. If its network is a class of a user's file, only `load_model("FILE.py:CLASS")` gives a bundle that can run it.

Decision 087: a bundle never names the file whose class makes its network
(docs/decisions/087-bundles-name-no-code.md).
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from node_agent.dtoee.exit_table import ExitTable
from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE, ExitCriterion
from node_agent.models.bundles import stored
from node_agent.models.bundles.card import (
    CARD,
    Lender,
    OwnCode,
    check_format,
    check_lender,
    class_count,
    family_of,
    input_of,
    labels_of,
    lender_of,
    own_code_of,
    parts_of,
    printable,
    read_card,
)
from node_agent.models.bundles.part_costs import CutCosts, ModelParts
from node_agent.models.bundles.sample_inputs import SampleInputs
from node_agent.models.bundles.shipped import available_models, folder_of, is_shipped
from node_agent.models.bundles.weights import check_finite, load_weights
from node_agent.models.data_types import (
    ActivationFormat,
    ExitAnswers,
    ExitScores,
    Input,
    Samples,
    SubModelProfile,
    check_cut,
)
from node_agent.models.families import family_class
from node_agent.models.interface import Model, SampleCosts
from node_agent.models.networks.user_code import UserClass, changed
from node_agent.models.packages import check_packaged_file, package_folder, repair_hint
from node_agent.wire import InputForm

if TYPE_CHECKING:
    from node_agent.models.networks.early_exit import EarlyExitModel
    from node_agent.models.networks.hosted import NetworkSubModel

WEIGHTS, EVALUATION, TABLE = "weights.safetensors", "evaluation.npz", "exit_table.npz"
SCORES = "evaluation_scores.npz"
MODEL_FILES = (CARD, WEIGHTS, TABLE, EVALUATION, SCORES)  # the files that affect a run


@dataclass(frozen=True)
class Bundle(Model):
    """A model's folder, read part by part on demand.

    `network` and `sub_models` load torch; `scores` and `profiles` only for bundles of earlier versions.

    Raises:
        InputError: in every member, if a file that it reads is missing, damaged or does not fit the others.
    """

    name: str  # of a shipped model; else the folder's name, or FILE.py:CLASS
    folder: Path  # with the files that `model train` writes
    code: UserClass | None = None  # the class of a user's file that may make the network
    criterion: ExitCriterion = CONFIDENCE  # makes the scores of `exit_table` and `scores`

    @property
    def remedy(self) -> str:
        """The hint for a file that cannot be used: how to make the bundle anew."""
        if is_shipped(self.folder):
            return f"reinstall the package, or make the model: dtoee-testbed model train {self.name} --out DIR"
        if self.code is not None:
            return f"train it again: dtoee-testbed model train {self.code}"
        models = " or ".join(available_models())
        return f"make a new bundle with: dtoee-testbed model train MODEL --out DIR, where MODEL is {models}"

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Turn the faults of a file into an InputError that names it."""
        try:
            if path.exists() and not path.is_file():
                raise ValueError("no ordinary file")  # a named pipe would wait for its other end
            yield
        except (OSError, ValueError, MemoryError) as error:
            what = printable(str(error)) or type(error).__name__
            raise InputError(f"{path}: {what}", hint=self.remedy) from error

    @cached_property
    def card(self) -> dict[str, Any]:
        """The card: how the model was made.

        Raises:
            InputError: the file is missing, is no JSON, or is no card of this version.
        """
        with self._reading(path := self.folder / CARD):
            return read_card(path)

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files; its card may name a shipped model whose evaluation samples it shares.

        Raises:
            InputError: there is no such model.
        """
        lender = self.card.get("evaluation") if name == EVALUATION else None
        if lender is None:
            return self.folder / name
        if lender not in available_models():
            raise InputError(f"{self.folder / CARD}: no model {lender!r} to share samples with", hint=self.remedy)
        return folder_of(str(lender)) / name

    @property
    def exits(self) -> tuple[int, ...]:
        """The blocks that carry an exit head; the last one is the end of the model."""
        return tuple(self.card["exits"])

    @cached_property
    def input(self) -> Input:
        """The form of the samples."""
        with self._reading(self.folder / CARD):
            return input_of(self.card)

    @property
    def family(self) -> str:
        """Name of the family; FILE.py:CLASS if a user's class makes the network."""
        if (own := self._own_code()) is not None:
            return f"{own.file}:{own.name}"
        with self._reading(self.folder / CARD):
            return family_of(self.card)

    @cached_property
    def evaluation(self) -> Samples:
        """The samples that devices offer as tasks.

        Raises:
            InputError: the file is missing or damaged, or its arrays do not fit each other.
        """
        with self._reading(path := self.file(EVALUATION)):
            return stored.read_samples(path, self.input, class_count(self.card))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The true class of each evaluation sample, [N]."""
        return self.evaluation.labels

    def inputs(self, cut: Sequence[int], activation: ActivationFormat) -> SampleInputs:  # noqa: ARG002
        """The evaluation samples as devices offer them."""
        return SampleInputs(self.evaluation)

    @cached_property
    def _whole_table(self) -> tuple[ExitAnswers, npt.NDArray[np.bool_]]:
        with self._reading(path := self.folder / TABLE):
            return stored.read_table(path, len(self.exits), self._others)

    @cached_property
    def _others(self) -> stored.Others:
        with self._reading(path := self.folder / stored.CRITERIA_FILE):
            return stored.read_others(path, len(self.exits), class_count(self.card))

    def exit_table(self, cut: Sequence[int]) -> ExitTable:
        """Held-out validation rows with one column per sub-model of `cut`.

        Raises:
            InputError: the cut is impossible, the file is damaged, or the criterion was not measured.
        """
        columns = [self.exits.index(block) for block in check_cut(cut, self.exits)]
        answers, correct = self._whole_table
        scores = answers.judged_by(self.criterion, columns, self._unmeasured())
        return ExitTable(np.asarray(scores.confidence, np.float64), correct[:, columns])

    def _unmeasured(self) -> InputError:
        """Return the error of a bundle without the numbers of its exit criterion."""
        model = self.name if is_shipped(self.folder) else self.code or self.folder
        hint = f"measure it again: dtoee-testbed model measure {model}"
        return InputError(f"{self.folder}: has no {self.criterion.name} scores", hint=hint)

    @cached_property
    def _whole_scores(self) -> ExitAnswers:
        path = self.folder / SCORES
        if not path.exists():  # a bundle of an earlier version
            from node_agent.models.networks.scoring import exit_answers  # noqa: PLC0415 - loads torch

            return exit_answers(self.network(), self.evaluation)
        with self._reading(path):
            shape = (self.sample_count, len(self.exits))
            return stored.read_scores(path, shape, class_count(self.card), self._others)

    def scores(self, cut: Sequence[int]) -> ExitScores:
        """The answers of the sub-models of `cut` to the N evaluation samples, shape (N, stages).

        Activations are float32 in these answers. Loads torch only for bundles that do not hold them.

        Raises:
            InputError: the cut is impossible, the file is damaged, or the criterion was not measured.
        """
        columns = [self.exits.index(block) for block in check_cut(cut, self.exits)]
        return self._whole_scores.judged_by(self.criterion, columns, self._unmeasured())

    @cached_property
    def _parts(self) -> ModelParts:
        card = self.card
        if "costs" not in card:  # a bundle of an earlier version
            from node_agent.models.networks.cost import measure_parts  # noqa: PLC0415 - loads torch

            card = {**card, "costs": measure_parts(self.network())}
        with self._reading(self.folder / CARD):
            return parts_of(card, self.input)

    def _costs(self, cut: Sequence[int], activation: ActivationFormat) -> CutCosts:
        ends = check_cut(cut, self.exits)
        lengths = self.evaluation.lengths if self.input.varies else None
        costs = CutCosts(self._parts, ends, self.input, lengths, activation)
        with self._reading(self.folder / CARD):
            costs.check()
        return costs

    def profiles(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[SubModelProfile, ...]:
        """The costs of the sub-models of `cut`; loads torch only for bundles without costs in their card.

        Raises:
            InputError: the cut is impossible, or the card's costs do not fit the model.
        """
        return self._costs(cut, activation).profiles()

    def input_forms(self, cut: Sequence[int], activation: ActivationFormat) -> tuple[InputForm, ...]:
        """The tensors that the sub-models of `cut` take: a sample first, then activations.

        Raises:
            InputError: the cut is impossible.
        """
        return self._costs(cut, activation).forms()

    def sample_costs(self, cut: Sequence[int], activation: ActivationFormat) -> SampleCosts | None:
        """The costs of each evaluation sample; None if all have one shape."""
        if not self.input.varies:
            return None
        costs, stages = self._costs(cut, activation), range(len(cut))
        flop = np.stack([costs.flop(stage) for stage in stages], axis=1)
        return SampleCosts(flop, np.stack([costs.length(stage) for stage in stages], axis=1))

    def check(self) -> None:
        """Read every file that a run needs, without torch. Raises InputError for the first that cannot be used."""
        if (own := self._own_code()) is not None and self.code is None:
            raise self._unnamed(own)
        self.check_code()
        self.check_weights()
        self.exit_table(self.exits)
        self.evaluation  # noqa: B018 - reading it is the check
        self.profiles(self.exits, "float32")
        if (self.folder / SCORES).exists():
            self.scores(self.exits)

    def fingerprint(self) -> str:
        """The SHA-256 (hex) of the files that affect a run."""
        digest = hashlib.sha256()
        others = () if self.other_criterion is None else (stored.CRITERIA_FILE,)
        for name in (*MODEL_FILES, *others):
            file = self.file(name)
            try:
                content = file.read_bytes() if file.exists() else b""
            except OSError as error:
                raise InputError(f"{file}: cannot be read: {error.strerror}", hint=self.remedy) from error
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()

    def check_weights(self) -> None:
        """Raise InputError if the weights cannot be read, or hold NaN or infinity; does not load torch."""
        with self._reading(path := self.folder / WEIGHTS):
            check_finite(path)

    @property
    def lender(self) -> Lender | None:
        """The package that holds the weights which the bundle does not; None: it holds all."""
        with self._reading(self.folder / CARD):
            return lender_of(self.card)

    def check_able(self) -> None:
        """Check the package from which the network borrows weights, if any, and its file's size; loads no torch.

        Raises:
            EnvironmentLacking: the package is missing.
            InputError: the card names a package that lends no model its weights, or the file with the weights is
                missing or has another size.
        """
        if (lender := self.lender) is not None:
            with self._reading(self.folder / CARD):
                check_lender(lender)
            folder = package_folder(lender.package, lender.version, f"the network of {self.name}")
            check_packaged_file(folder / lender.file, lender.bytes, repair_hint(lender.package, lender.version))

    @property
    def labels_are(self) -> str | None:
        """The source of the labels, in words; None: they are known to be true."""
        return labels_of(self.card)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence on labels that a model gave."""
        labels = self.labels_are
        return () if labels is None else (f"model {self.name}: an answer counts as right if it equals {labels}",)

    def check_format(self, activation: ActivationFormat) -> None:
        """Raise InputError if the card says that this format does not suit the model."""
        check_format(self.card, activation, self.name)

    def check_code(self) -> None:
        """Raise InputError if the user's file, which makes the network, has changed since the bundle was made."""
        own = self._own_code()
        if self.code is None:
            return
        if own is None or own.name != self.code.name:
            made_by = "a family of the project" if own is None else f"the class {own.name}"
            raise InputError(f"{self.folder / CARD}: a bundle of {made_by}, not of {self.code}", hint=self.remedy)
        if own.sha256 != self.code.sha256():
            raise changed(self.code)

    def _own_code(self) -> OwnCode | None:
        with self._reading(self.folder / CARD):
            return own_code_of(self.card)

    def _unnamed(self, own: OwnCode) -> InputError:
        """Return the error of a bundle whose network a user's file makes, which was not named."""
        return InputError(
            f"{self.folder}: its network is the class {own.name} of {own.file}; a bundle does not run files",
            hint=f"name the file: model: {{file: PATH/{own.file}:{own.name}, ...}}, or with --model",
        )

    def network_class(self) -> "type[EarlyExitModel]":
        """The class of the network; loads torch, and runs the user's file if the bundle was loaded by its name.

        Raises:
            InputError: the class is in a user's file that was not named, has changed or fails; or there is no family.
        """
        own = self._own_code()
        if own is None:
            return family_class(self.family)
        if self.code is None:
            raise self._unnamed(own)
        self.check_code()
        return self.code.load(own.sha256)

    def network(self) -> "EarlyExitModel":
        """The whole model in its inference form; loads torch.

        Raises:
            InputError: its weights cannot be read, are not finite, or do not fit its architecture.
            EnvironmentLacking: it borrows weights from a package that is missing.
        """
        self.check_weights()
        self.check_able()
        kind = self.network_class()

        from node_agent.models.networks.made import make_network, running  # noqa: PLC0415 - loads torch

        with self._reading(self.folder / CARD):
            network = make_network(kind, self.card, self.code)
            with running(self.code, "fold"):
                network = network.fold()
            if (network.exits, network.input) != (self.exits, self.input):
                raise ValueError(
                    f"exits {list(self.exits)} and inputs {list(self.input.shape)}, but the network has "
                    f"{list(network.exits)} and {list(network.input.shape)}"
                )
        path = self.folder / WEIGHTS
        with self._reading(path):
            load_weights(network, path)
            network.borrow()
        return network.eval().requires_grad_(False)

    def sub_models(self, cut: Sequence[int], activation: ActivationFormat) -> "tuple[NetworkSubModel, ...]":
        """The sub-models of one cut, freshly loaded, as servers run them; loads torch.

        Raises:
            InputError: the cut is impossible, or the weights cannot be used.
        """
        costs, network = self._costs(cut, activation), self.network()

        from node_agent.models.networks.hosted import cut as cut_network  # noqa: PLC0415 - loads torch
        from node_agent.models.networks.made import running  # noqa: PLC0415 - loads torch

        work = [cache(partial(costs.work, stage)) for stage in range(len(cut))]  # few lengths, many tasks
        with running(self.code, "its cut"):
            return cut_network(network, cut, costs.forms(), activation, work, self.criterion)
