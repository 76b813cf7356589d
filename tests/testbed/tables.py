"""A table of glyphs' own answers, as the exporter's `write` makes it; for tests that hold both against each other."""

from pathlib import Path

import numpy as np

from node_agent.models import load_bundle
from node_agent.models.answer_table.exporter import write


def table_of_glyphs(path: Path, cut=(2, 3, 5), activation="float32", model="glyphs", **more) -> Path:
    """Write the answers and costs of a bundle's sub-models of `cut`; `more` arrays replace or join the others."""
    bundle = load_bundle(model)
    scores, table = bundle.scores(cut), bundle.exit_table(cut)
    forms = [form.usual for form in bundle.input_forms(cut, activation)]
    costs = {
        "flop": [profile.flop for profile in bundle.profiles(cut, activation)],
        "input": [f"{form.dtype} {'x'.join(map(str, form.shape))}" for form in forms],
    }
    recorded = {"confidence": scores.confidence, "prediction": scores.prediction, "label": bundle.labels}
    held_out = {"plan_confidence": table.confidence, "plan_correct": table.correct}
    arrays = {**recorded, **costs, **held_out, **more}
    write(str(path), {name: np.asarray(array) for name, array in arrays.items()}, {})
    return path
