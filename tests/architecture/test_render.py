"""The committed `config.pbtxt` files are what settings and signatures say."""

import argparse

from cospec.config import load_settings
from cospec.render import main, model_configs


def test_committed_configs_are_up_to_date() -> None:
    assert main(argparse.Namespace(check=True)) == 0


def test_only_the_orchestrator_is_decoupled_and_all_others_batch() -> None:
    for name, config in model_configs(load_settings()).items():
        assert config.model_transaction_policy.decoupled == (name == "orchestrator")
        assert config.HasField("dynamic_batching") == (name != "orchestrator")
