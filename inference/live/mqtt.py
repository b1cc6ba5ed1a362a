"""Publish alarms to an MQTT broker; needs the optional package paho-mqtt."""

from __future__ import annotations

import json
import queue
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inference.live.notify import Outbox, Record, Refused
from utils.errors import UserError
from utils.untrusted.addresses import is_possible, without_secrets
from utils.untrusted.text import shortened

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TIMEOUT = 10.0  # seconds: for the connection, for the broker's answer and for its receipt
_AT_LEAST_ONCE = 1  # quality of service: the broker confirms each message
# Reason codes of MQTT 5 (paho maps those of 3.1.1 to them) with which another attempt would fare no
# better: protocol version, client identifier, user or password, not authorized.
_FOR_GOOD = (132, 133, 134, 135)


@dataclass(frozen=True)
class Broker:
    """Where to publish: an address ``mqtt://user:password@HOST:1883/some/topic``, taken apart."""

    host: str
    port: int
    topic: str
    user: str
    password: str = field(repr=False)
    is_encrypted: bool


def mqtt(address: str) -> Outbox:
    """Publishes each record as JSON, in order, until the broker has confirmed it.

    A message has a connection of its own: alarms are rare, and nothing must be kept alive.

    Args:
        address: ``mqtt://`` or ``mqtts://`` (TLS), host, topic; user and password may be in it.

    Raises:
        UserError: another kind of address, or paho-mqtt is not installed.
    """
    broker, shown = _take_apart(address), without_secrets(address)
    try:
        import paho.mqtt.client as paho
    except ImportError:
        raise UserError(
            f"--mqtt {shown}: needs the package paho-mqtt; pip install 'paho-mqtt>=2,<3'"
        ) from None
    return Outbox(f"mqtt {shown}", lambda record: _publish(paho, broker, record))


def _take_apart(address: str) -> Broker:
    try:
        parts = urllib.parse.urlsplit(address)
        port, could_be = parts.port, is_possible(f"{parts.scheme}://{parts.netloc}/")
    except ValueError:  # of a port that is no number
        parts, port, could_be = urllib.parse.urlsplit(""), None, False
    topic = urllib.parse.unquote(parts.path.removeprefix("/"))
    is_topic = bool(topic) and topic.isprintable() and not set(topic) & set("+#")
    is_usable = parts.scheme in _PORTS and could_be and is_topic
    if not is_usable or parts.query or "#" in address:
        shown = shortened(without_secrets(address), 200)
        raise UserError(
            f"--mqtt {shown}: must be an address mqtt://HOST/TOPIC, or mqtts:// "
            "for TLS, with a topic without + # ? in it"
        )
    return Broker(
        parts.hostname or "",
        port or _PORTS[parts.scheme],
        topic,
        urllib.parse.unquote(parts.username or ""),
        urllib.parse.unquote(parts.password or ""),
        parts.scheme == "mqtts",
    )


def _publish(paho: Any, broker: Broker, record: Record) -> None:
    """Connect, publish one record and wait for the receipt.

    Raises:
        Refused: the broker does not want this client; OSError: it does not answer.
    """
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.connect_timeout = _TIMEOUT
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.is_encrypted:
        client.tls_set()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(reason)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        _require_welcome(answers)
        message = client.publish(broker.topic, json.dumps(record), qos=_AT_LEAST_ONCE)
        _receipt(message.wait_for_publish, message.is_published)
    finally:
        client.disconnect()
        client.loop_stop()


def _require_welcome(answers: queue.SimpleQueue[Any]) -> None:
    try:
        reason = answers.get(timeout=_TIMEOUT)
    except queue.Empty:
        raise OSError(f"no answer in {_TIMEOUT:.0f} s") from None
    if not reason.is_failure:
        return
    if reason.value in _FOR_GOOD:
        raise Refused(f"the broker answered: {reason}")
    raise OSError(f"the broker answered: {reason}")


def _receipt(wait: Callable[[float], None], is_published: Callable[[], bool]) -> None:
    try:
        wait(_TIMEOUT)
        is_confirmed = is_published()
    except (RuntimeError, ValueError) as error:  # paho's own, where the connection is gone
        raise OSError(f"not confirmed ({error})") from None
    if not is_confirmed:
        raise OSError(f"not confirmed in {_TIMEOUT:.0f} s")
