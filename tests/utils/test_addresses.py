"""Addresses as they may be shown."""

from __future__ import annotations

import pytest

from utils.untrusted.addresses import without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.7:554/live", "rtsp://***@10.0.0.7:554/live"),
        ("rtsp://admin:s3@cr:et@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://admin:s3/cret@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://10.0.0.7/user=admin&password=s3cret&channel=1",
         "rtsp://10.0.0.7/user=admin&password=***&channel=1"),
        ("http://cam/video?Token=s3cret#x", "http://cam/video?Token=***#x"),
        ("http://cam/?api_key=s3cret&loginpas=s3cret", "http://cam/?api_key=***&loginpas=***"),
        ("no address: me@home.org", "no address: me@home.org"),
        ("rtsp://10.0.0.7/live", "rtsp://10.0.0.7/live"),
        ("a b 'rtsp://u:s3cret@h/x' and http://v:s3cret@k",
         "a b 'rtsp://***@h/x' and http://***@k"),
    ],
)  # fmt: skip
def test_nothing_secret_is_shown(address, shown):
    assert without_secrets(address) == shown
