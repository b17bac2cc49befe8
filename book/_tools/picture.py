"""Draw the picture of the README and the landing page: one cat, two classes, two questions."""

from build import ROOT

from contrastlib import contrast, models, plotting
from contrastlib.attribution import grad_cam
from contrastlib.data import photographs

classifier = models.load("tf_efficientnet_lite0")
images = classifier.prepare(photographs.load("chelsea").image)
top = classifier.top(images, 2)[0]
rows = [[grad_cam(classifier, images, t, how) for t, _, _ in top] for how in (contrast.original, contrast.weighted)]
figure = plotting.map_grid(
    images[0],
    rows,
    row_labels=["the usual map", "rather than\nthe others"],
    column_titles=[f"why {name}?\np = {p:.2f}" for _, name, p in top],
)
figure.savefig(
    ROOT / "book" / "_static" / "why-this-class.jpg", dpi=150, bbox_inches="tight", pil_kwargs={"quality": 85}
)
