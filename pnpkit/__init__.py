"""pnpkit: perceptual–neural–physical sound matching on a Riemannian metric.

θ → g → x → Φ → S: synthesisers in :mod:`pnpkit.synth`, joint time–frequency scattering in :mod:`pnpkit.jtfs`, the
pullback metric of their composition in :mod:`pnpkit.metric`, and the losses it makes in :mod:`pnpkit.losses`.
"""

import warnings

# torch.func warns about its own use of torch.jit, with a path of the machine: noise in every notebook and log.
warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*", category=FutureWarning)
# timm imports tqdm, which asks every notebook for ipywidgets, with a path too; no bar here is drawn with it.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.1.0"
