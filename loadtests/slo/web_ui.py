"""Locust's web UI, with a tab of objectives by class and the live report at /report."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flask import json, request
from locust.env import Environment

from loadtests.generator.plan import Plan
from loadtests.generator.record import Record
from loadtests.generator.session import Session
from loadtests.slo.figures import figures_of, measured
from loadtests.slo.outcome import outcome_of
from loadtests.slo.report import as_html

TAB = "objectives"
REFRESH = 5  # seconds
COLUMNS = {
    "requests": "Counted",
    "attainment": "Attained %",
    "goodput_rps": "Goodput/s",
    "ttft_p50_ms": "TTFT p50 ms",
    "ttft_p99_ms": "TTFT p99 ms",
    "tpot_p50_ms": "TPOT p50 ms",
    "tpot_p99_ms": "TPOT p99 ms",
    "icl_p99_ms": "Chunks p99 ms",
    "acceptance_length": "Acceptance length",
    "failed_share": "Failed %",
}


def extend(environment: Environment, session: Session) -> None:
    """Nothing where there is no web UI, as in a worker."""
    if environment.web_ui is None:
        return
    web = environment.web_ui
    structure = [{"key": "name", "title": "Class"}, *({"key": key, "title": title} for key, title in COLUMNS.items())]
    web.template_args["extended_tabs"] = [{"title": "Objectives", "key": TAB}]
    web.template_args["extended_tables"] = [{"key": TAB, "structure": structure}]
    web.template_args["extended_csv_files"] = [{"href": "/report", "title": "Report with charts"}]
    web.app.after_request(lambda response: _with_rows(response, session))
    web.app.add_url_rule("/report", "report", lambda: _live_report(session))


def plan_so_far(session: Session) -> Plan:
    """Rates of a run that still goes on are over the time that has passed."""
    latest = max((record.at for record in session.records), default=0.0) - session.plan.warm_up
    return replace(session.plan, duration=min(session.plan.duration, max(1.0, latest)))


def rows_of(session: Session) -> list[dict[str, Any]]:
    """What the tab shows: a row a class, and one for all."""
    counted = measured(session.records, session.plan)
    groups = {name: [record for record in counted if record.slo_class == name] for name in session.objectives.names}
    return [_row(name, records, session) for name, records in {**groups, "all": counted}.items() if records]


def _row(name: str, records: Sequence[Record], session: Session) -> dict[str, Any]:
    figures = figures_of(records, plan_so_far(session), session.objectives)
    shown = {key: value for key, value in figures.items() if key in COLUMNS}
    percents = {key: (shown[key] or 0.0) * 100 for key in ("attainment", "failed_share")}
    rounded = {key: "" if value is None else round(value, 2) for key, value in {**shown, **percents}.items()}
    return {"name": name, "requests": len(records), **rounded}


def _with_rows(response: Any, session: Session) -> Any:
    if request.path == "/stats/requests" and response.is_json:
        response.set_data(json.dumps({**response.json, "extended_stats": [{"key": TAB, "data": rows_of(session)}]}))
    return response


def _live_report(session: Session) -> Any:
    if not measured(session.records, session.plan):
        return f'<meta http-equiv="refresh" content="{REFRESH}">No request has ended after the warm-up yet.'
    return as_html(outcome_of(session.records, plan_so_far(session), {}), refresh=REFRESH)
