"""Locust's users: callers of a closed loop, or, in an open one, the process's dispatcher."""

from itertools import count

from locust import User, task
from locust.exception import StopUser

from loadtests.generator.plan import GRPC, Plan
from loadtests.generator.session import Session


class ModelUser(User):
    """One that asks the server named by --host, as the plan says; the web UI may change the plan between runs."""

    abstract = True
    _numbers = count()

    @task
    def take_part(self) -> None:
        session: Session = self.environment.cospec
        if session.plan.is_closed:
            self._converse(session)
        else:
            self._dispatch(session)
        raise StopUser

    def _converse(self, session: Session) -> None:
        """Asks again once it has its answer."""
        session.load.begin()
        session.load.converse(f"{session.share.index}/{next(self._numbers)}")

    def _dispatch(self, session: Session) -> None:
        """Sends the process's share of the schedule, whether answers come or not; a second user has nothing to do."""
        if session.load.begin():
            session.load.dispatch(session.requests)


class GrpcUser(ModelUser):
    """Over gRPC streams."""


class HttpUser(ModelUser):
    """Over `generate_stream`, or `generate`."""


def user_of(plan: Plan) -> type[ModelUser]:
    return GrpcUser if plan.protocol == GRPC else HttpUser
