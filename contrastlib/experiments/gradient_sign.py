"""Figures 1 and 7: images are pushed along the sign of the gradient; what happens to p_t, accuracy and y_t?"""

from contrastlib import contrast, evaluation, perturbation
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values
from contrastlib.models import Classifier
from contrastlib.names import find

CONTRASTS = {
    "original": contrast.original, "mean": contrast.mean, "tempered 2": contrast.tempered(2),
    "weighted": contrast.weighted, "probability": contrast.probability, "tempered 0.5": contrast.tempered(0.5),
    "max": contrast.max, "finer": contrast.finer()}
EPSILONS, STEPS = (3e-3, 1e-3), (1, 2, 10)
BEFORE = ("before", "", "")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Accuracy, p_t and y_t of the true label before and after, (n, 3) for each setting of the perturbation."""
    known = [*CONTRASTS]
    names = [known[find(name, known, "contrast")] for name in setting.contrasts] or known
    sweep = perturbation.gradient_sign_sweep(
        classifier, batch.images, batch.labels, {name: CONTRASTS[name] for name in names}, epsilons=EPSILONS,
        steps=STEPS)
    logits = {BEFORE: sweep.before} | {tuple(map(str, cells)): after for cells, after in sweep.after.items()}
    return {cells: evaluation.outcome(y, batch.labels) for cells, y in logits.items()}


def rows(values: Values) -> Rows:
    """Averages before, and of the changes; each contrast is compared with ``original`` image by image."""
    before = values[BEFORE].double()
    changes = {cells: after.double() - before for cells, after in values.items() if cells != BEFORE}
    columns = {(*cells, metric): table[:, m] for cells, table in {BEFORE: before, **changes}.items()
               for m, metric in enumerate(evaluation.OUTCOMES)}
    return evaluation.summarise(columns, ("contrast", "epsilon", "steps", "metric"), compare="contrast", to="original")


EXPERIMENT = Experiment("gradient-sign", "Figures 1 and 7: pushing along the sign of the gradient", measure, rows)
