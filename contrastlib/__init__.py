"""Why this class and not another: class-contrastive explanations of image classifiers.

Two ideas hold everything. A *contrast* says which number is explained (:mod:`contrastlib.contrast`); an *attribution*
says how the gradient of that number becomes a signed map over the image (:mod:`contrastlib.attribution`). Import the
parts that you need; importing the package itself loads none of them, so drawing never waits for a network library.
"""

__version__ = "0.1.0"
