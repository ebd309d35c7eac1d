"""Which GPU a model runs on, where there are several."""

from cospec.config import Settings


def gpu_of(model: str, settings: Settings, num_gpus: int) -> int:
    """A verifier has one of its own, as far as they go; drafters share those that no verifier has, or else all."""
    served = settings.model_names
    verifiers = [name for name in settings.verifier_models if name in served]
    if model in verifiers:
        return verifiers.index(model) % num_gpus
    number = served.index(model) - len(verifiers)
    left = num_gpus - len(verifiers)
    return len(verifiers) + number % left if left > 0 else number % num_gpus
