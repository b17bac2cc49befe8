"""Figures 1 and 7: images are pushed along the sign of the gradient; what happens to p_t, accuracy and y_t?"""

from contrastlib import contrast, faithfulness
from contrastlib.experiments.experiment import Batch, Experiment, Row, Setting, Values, estimates, key, parts
from contrastlib.models import Classifier
from contrastlib.perturbation import gradient_sign_sweep

CONTRASTS = {
    "original": contrast.original, "mean": contrast.mean, "tempered 2": contrast.tempered(2),
    "weighted": contrast.weighted, "probability": contrast.probability, "tempered 0.5": contrast.tempered(0.5),
    "max": contrast.max, "finer": contrast.finer(),
}
EPSILONS, STEPS = (3e-3, 1e-3), (1, 2, 10)
BEFORE = key("before", "", "")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:  # noqa: ARG001 - all take a setting
    """Accuracy, p_t and y_t of the true label before and after, (n, 3) for each setting of the perturbation."""
    sweep = gradient_sign_sweep(classifier, batch.images, batch.labels, CONTRASTS, epsilons=EPSILONS, steps=STEPS)
    after = {key(*setting): faithfulness.outcome(logits, batch.labels) for setting, logits in sweep.after.items()}
    return {BEFORE: faithfulness.outcome(sweep.before, batch.labels), **after}


def rows(values: Values) -> list[Row]:
    """Averages before, and of the changes; each contrast is compared with ``original`` image by image."""
    before = values[BEFORE].double()
    changes = {name: after.double() - before for name, after in values.items() if name != BEFORE}
    named, vectors, references = [], [], []
    for name, table in {BEFORE: before, **changes}.items():
        which, epsilon, steps = parts(name)
        other = None if which in ("before", "original") else changes[key("original", epsilon, steps)]
        for m, metric in enumerate(faithfulness.OUTCOMES):
            named.append({"contrast": which, "epsilon": epsilon, "steps": steps, "metric": metric})
            vectors.append(table[:, m])
            references.append(None if other is None else other[:, m])
    return [{**left, **right} for left, right in zip(named, estimates(vectors, references))]


EXPERIMENT = Experiment(
    "gradient-sign", "Figures 1 and 7: pushing along the sign of the gradient", "gradient_sign.csv", measure, rows)
