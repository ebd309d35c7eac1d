"""What alerts, dashboard and autoscaler look at is what a server publishes."""

import urllib.request

from cospec.serve import TritonServer

from deploy.manifests import watched_metrics


def test_every_metric_that_is_watched_is_published(server: TritonServer) -> None:
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    published = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert len(watched_metrics()) > 30
    assert watched_metrics() - published == set()
