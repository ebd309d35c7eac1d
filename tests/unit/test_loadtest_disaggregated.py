"""The benchmark of drafters elsewhere, but for its servers."""

import json
from pathlib import Path

from loadtests.disaggregated import QUICK, remote, write_report
from loadtests.paired import PairedRates
from loadtests.settings_file import write_changed


def test_every_drafter_is_elsewhere_and_the_server_takes_the_settings(tmp_path: Path) -> None:
    from cospec.config import load_settings

    drafters = ["chat", "code", "literature", "math", "medicine"]
    settings = load_settings(write_changed(remote(drafters, "localhost:1"), tmp_path / "remote.yaml"))
    assert settings.model_names == ("verifier", "orchestrator")


def test_the_report_has_the_ratio_and_where_it_was_measured(tmp_path: Path) -> None:
    write_report([PairedRates("auto", 8, (90.0,), (100.0,), True)], QUICK, tmp_path)
    assert "| auto | 8 | 90 | 100 | 0.900 (0.900 to 0.900) | yes |" in (tmp_path / "disaggregated.md").read_text()
    result = json.loads((tmp_path / "disaggregated.json").read_text())
    assert result["rates"][0]["ratio"] == 0.9 and result["machine"]["processor"]
