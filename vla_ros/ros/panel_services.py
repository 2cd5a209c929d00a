# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The services that the operator page offers: those that are on the graph."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from rclpy.client import Client
from rclpy.node import Node
from std_srvs.srv import Trigger

from vla_ros.server.panel.robot import Outcome


class TriggerServices:
    """Knows which of some Trigger services are there, and calls them."""

    def __init__(self, node: Node, services: Mapping[str, str]) -> None:
        """
        Prepare.

        :param services: names of services on the graph by the page's name.
        """
        self._clients: dict[str, Client] = {
            name: node.create_client(Trigger, service) for name, service in services.items()}
        self._available: tuple[str, ...] = ()

    @property
    def available(self) -> tuple[str, ...]:
        """The page's names of those that were there at the last look."""
        return self._available

    def look(self) -> None:
        """Look which are there."""
        self._available = tuple(name for name, client in self._clients.items()
                                if client.service_is_ready())

    def call(self, name: str) -> 'Future[Outcome]':
        """Call one of those that are there."""
        outcome: Future[Outcome] = Future()
        outcome.set_running_or_notify_cancel()  # it is never cancelled: the response may come late

        def finish(reply: Any) -> None:
            error = reply.exception()
            if error is not None:
                outcome.set_exception(error)
            else:
                response = reply.result()
                outcome.set_result(Outcome(response.success, response.message))

        self._clients[name].call_async(Trigger.Request()).add_done_callback(finish)
        return outcome
