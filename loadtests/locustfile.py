"""The load tests for Locust's own command:

locust -f loadtests/locustfile.py --host http://localhost:8000                                   the web UI, port 8089
locust -f loadtests/locustfile.py --host http://localhost:8000 --headless --rate 8 --duration 60 one run, its report
locust -f loadtests/locustfile.py --host localhost:8001 --protocol grpc                          over gRPC
locust ... --master --expect-workers 4 -u 4     and four times     locust ... --worker           distributed
"""

from loadtests.generator.cooperative_grpc import make_grpc_cooperative

make_grpc_cooperative()

from loadtests.generator.users import GrpcUser, HttpUser  # noqa: E402, F401  Locust looks for them here
from loadtests.slo.locust_hooks import install  # noqa: E402

install()
