"""A model for simulations whose samples differ in size and work; its answers are those of glyphs."""

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.models import load_bundle
from node_agent.models.data_types import ExitScores, SubModelProfile
from node_agent.models.interface import Inputs, Model, SampleCosts, SubModel
from node_agent.wire import InputForm, TensorForm

SHORTEST, LONGEST = 40, 1200  # first dimension of an input
WIDTH = 16  # of the inputs behind stage 1


class VaryingGlyphs(Model):
    """Texts of `SHORTEST` to `LONGEST` tokens. The first stage takes `first_flop` for each; later ones read fewer."""

    name = "varying"

    def __init__(self, first_flop: float = 30e3, seed: int = 2) -> None:
        """`first_flop` is the work of stage 1 on a token [FLOP]; `seed` is that of the drawn lengths."""
        self._glyphs = load_bundle("glyphs")
        self._first_flop = first_flop
        self._tokens = np.random.default_rng(seed).integers(SHORTEST, LONGEST + 1, self._glyphs.sample_count)

    @property
    def exits(self) -> tuple[int, ...]:
        return self._glyphs.exits

    @property
    def labels(self):
        return self._glyphs.labels

    def exit_table(self, cut) -> ExitTable:
        return self._glyphs.exit_table(cut)

    def scores(self, cut) -> ExitScores:
        return self._glyphs.scores(cut)

    def sample_costs(self, cut, activation) -> SampleCosts:  # noqa: ARG002
        """Stage h reads a token in h, and works on each of them h times as long as the first stage."""
        stages = np.arange(1, len(cut) + 1)
        length = np.maximum(self._tokens[:, None] // stages, 1)
        return SampleCosts(length * stages**2 * self._first_flop + 1e6, length)

    def input_forms(self, cut, activation) -> tuple[InputForm, ...]:
        means = self.sample_costs(cut, activation).length.mean(axis=0).round().astype(int).tolist()
        return tuple(
            InputForm(TensorForm("uint16", (mean,)) if stage == 0 else TensorForm(activation, (mean, WIDTH)), LONGEST)
            for stage, mean in enumerate(means)
        )

    def profiles(self, cut, activation) -> tuple[SubModelProfile, ...]:
        costs, forms = self.sample_costs(cut, activation), self.input_forms(cut, activation)
        sizes = [form.usual.byte_count for form in forms]
        return tuple(
            SubModelProfile(
                stage=stage + 1, flop=round(flop.mean()), input_bytes=sizes[stage],
                output_bytes=sizes[stage + 1] if stage + 1 < len(forms) else 0, parameters_bytes=1,
                variability=float(flop.var() / flop.mean() ** 2),
            )
            for stage, flop in enumerate(costs.flop.T)
        )  # fmt: skip

    def inputs(self, cut, activation) -> Inputs:
        raise NotImplementedError("it is simulated only")

    def sub_models(self, cut, activation) -> tuple[SubModel, ...]:
        raise NotImplementedError("it is simulated only")

    def fingerprint(self) -> str:
        return self._glyphs.fingerprint()

    def check(self) -> None:
        self._glyphs.check()
