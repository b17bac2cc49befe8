"""Fine-tuning: the papers' recipe and shorter ones, from the command line with ``python -m contrastlib.training``."""

from contrastlib.training.augmentation import light_tensor
from contrastlib.training.checkpoint import CheckpointError
from contrastlib.training.evaluation import Evaluation, evaluate
from contrastlib.training.heads import new_head, start
from contrastlib.training.loop import DivergedError, Watcher, train
from contrastlib.training.recipe import RECIPES, Recipe, named_recipe
from contrastlib.training.record import Epoch, Record, StoredWeights

__all__ = ["RECIPES", "CheckpointError", "DivergedError", "Epoch", "Evaluation", "Recipe", "Record", "StoredWeights",
           "Watcher", "evaluate", "light_tensor", "named_recipe", "new_head", "start", "train"]
